"""Writing on the host what an apply does there, from its first change to its end, however it ends."""

from __future__ import annotations

import base64
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import quote
from typing import Any

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import host

from ollama_fleet.api.through import is_connected
from ollama_fleet.operations.context import failure_of, has_changed, look, mark_changed, step
from ollama_fleet.operations.shell import script
from ollama_fleet.operations.windows import running
from ollama_fleet.operations.windows.script import powershell
from ollama_fleet.planner.before import NO_GROUP, NO_LINGERING, NO_USER, absent_line
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.record import KEPT, Record
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.before import BeforeWindows

_PENDING = "ollama_fleet.record"
WRITTEN_WITHIN = 20
"""Seconds for the host to take a record of a failure."""


@dataclass
class Pending:
    """The record of the apply that is at work on a host."""

    record: Record
    layout: Layout
    needed: bool
    """Something is going to change; else only a failure is worth a record."""
    secrets: tuple[str, ...]
    """Values that must not come into it by way of an error's text."""
    begun: bool = False


@operation()
def record(
    pending: Pending, scope: Scope = "system", models_dir: str | None = None
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Write down what is about to change. Should the apply fail at a later step, that is added.

    What was not on the host before us is noted too, for `retire`.

    Args:
        pending: the record.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look(scope, models_dir)
    host.connector_data[_PENDING] = pending
    if not any(isinstance(handler, _OnFailure) for handler in host.state.callback_handlers):
        host.state.add_callback_handler(_OnFailure())  # type: ignore[no-untyped-call]
    if not pending.needed:
        host.noop("nothing to record")
        return
    mark_changed(host)
    if layout.scope == "windows":
        note = BeforeWindows.of(state, layout).with_today(state, layout).text()
        yield powershell(
            running.write_record(layout, pending.record.id, pending.record.line()),
            *running.note_before(layout, note, state),
        )
    else:
        yield script(*note_before(layout, state), write_record(pending.record, layout))
    yield step(_begun(pending), "record")


@operation()
def outcome(pending: Pending) -> Generator[FunctionCommand, None, None]:
    """Complete the record: everything has been done and proven.

    Args:
        pending: the record that was begun.
    """
    if not pending.needed and not has_changed(host):
        host.noop("nothing to record")
        return

    def run(at: Host) -> None:
        send(at, pending.layout, pending.record.finished("ok", now()))

    yield step(run, "record")


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _OnFailure(BaseStateCallback):
    """Told by pyinfra of every operation that fails on a host."""

    def operation_host_error(  # type: ignore[override]  # pyinfra calls it on the object
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        pending: Pending | None = host.connector_data.get(_PENDING)
        if pending is None or pending.needed != pending.begun or not is_connected(host):
            return
        del host.connector_data[_PENDING]
        names = ", ".join(sorted(name.rpartition(" | ")[2] for name in state.get_op_meta(op_hash).names))
        reason = f"{names}: {failure_of(host) or 'see the output of the run'}"
        for secret in pending.secrets:
            reason = reason.replace(secret, "***")
        send(host, pending.layout, pending.record.finished("failed", now(), reason))


def _begun(pending: Pending) -> Any:
    def run(_: Host) -> None:
        pending.begun = True

    return run


def send(at: Host, layout: Layout, record: Record) -> None:
    """Write outside the usual course; a record that cannot be written must not be what fails an apply."""
    try:
        command = write_record(record, layout)
        if layout.scope == "windows":
            command = running.write_record(layout, record.id, record.line())
        at.run_shell_command(
            StringCommand(command),
            _sudo=bool(at.data.get("_sudo")),
            _timeout=WRITTEN_WITHIN,
        )
    except (OSError, SSHException, EOFError) as error:
        at.log(f"the record of this apply could not be written: {str(error) or type(error).__name__}")


def write_record(record: Record, layout: Layout) -> str:
    """Shell that writes a record and drops the oldest; where it cannot, on a full disk, it says so and succeeds."""
    path, folder = quote(f"{layout.history}/{record.id}.json"), quote(layout.history)
    encoded = base64.b64encode(f"{record.line()}\n".encode()).decode()
    return _tolerated(
        f"( umask 077 && mkdir -p {folder} && printf %s {encoded} | base64 -d >{path}.new )",
        f"mv -fT {path}.new {path}",
        f'( cd {folder} && ls | head -n -{KEPT} | while IFS= read -r old; do rm -f -- "$old"; done )',
    )


def _tolerated(*commands: str) -> str:
    return f"{{ {' && '.join(commands)}; }} || echo 'the record of this apply could not be written' >&2"


def note_before(layout: Layout, state: HostState) -> list[str]:
    """Shell that notes which of the places and accounts that we use were not there before us; none for nothing new."""
    there = state.files.get(layout.before)
    known = [] if there is None else (there.content or b"").decode(errors="replace").splitlines()
    lines = [absent_line(path) for path in layout.places() if path not in state.files]
    if layout.scope == "system":
        lines += [] if layout.service_user in state.accounts else [NO_USER]
        lines += [] if layout.service_group in state.groups else [NO_GROUP]
    elif not state.platform.lingering:
        lines.append(NO_LINGERING)
    text = "".join(f"{line}\n" for line in dict.fromkeys([*known, *lines]))
    if there is not None and text.splitlines() == known:
        return []
    encoded = base64.b64encode(text.encode()).decode()
    before = quote(layout.before)
    return [
        _tolerated(
            f"mkdir -p {quote(layout.state)}",
            f"printf %s {encoded} | base64 -d >{before}.new",
            f"mv -fT {before}.new {before}",
        )
    ]
