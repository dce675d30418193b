"""One apply at a time on a host.

The lock is `flock` on a file of the host, held by a process at the other end of the connection: it is gone the
moment the controller ends, however it ends, or when the host's sshd notices that the controller is cut off.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.connectors.util import make_unix_command_for_host
from pyinfra.context import host

from ollama_fleet.api.through import ssh_transport
from ollama_fleet.connectors.powershell import command_line, framed
from ollama_fleet.operations.context import StepFailed, look, step
from ollama_fleet.operations.windows import running
from ollama_fleet.planner.layout import Layout, Scope

_HELD = "ollama_fleet.lock"
ANSWER_WITHIN = 20.0
"""Seconds for the host to say whether it is locked."""


@operation()
def host_lock(
    needed: bool, scope: Scope = "system", models_dir: str | None = None
) -> Generator[FunctionCommand, None, None]:
    """Keep other applies off the host until this run ends; one that is there already fails this host at once.

    Args:
        needed: False where nothing is going to change, so that a look costs nothing.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    _, layout = look(scope, models_dir)
    if not needed or _HELD in host.connector_data:
        host.noop("nothing to change, nothing to lock")
        return
    yield step(lambda at: acquire(at, layout), "lock")


def acquire(at: Host, layout: Layout) -> None:
    """Take the host's lock until the connection ends. Raises StepFailed with who has it."""
    stdin = ""
    if layout.scope == "windows":
        command, stdin = command_line(framed(running.lock(layout, _holder())))
    else:
        command = make_unix_command_for_host(
            at.state, at, StringCommand(_script(layout)), _sudo=bool(at.data.get("_sudo"))
        ).get_raw_value()
    transport = ssh_transport(at)
    try:
        if transport is None:
            answer = _hold_locally(at, command)
        else:
            channel = transport.open_session(timeout=ANSWER_WITHIN)
            channel.settimeout(ANSWER_WITHIN)
            channel.exec_command(command)
            channel.sendall(stdin.encode())
            at.connector_data[_HELD] = channel
            answer = _first_line(channel)
    except OSError as error:
        raise StepFailed(f"the host did not answer: {str(error) or 'in time'}") from error
    if answer != "locked":
        raise StepFailed(answer or "the host's lock cannot be taken (is flock installed?)")


def _hold_locally(at: Host, command: str) -> str:
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    at.connector_data[_HELD] = process
    assert process.stdout is not None
    return process.stdout.readline().decode(errors="replace").strip()


def _first_line(channel: Any) -> str:
    received = b""
    while b"\n" not in received and (more := channel.recv(4096)):
        received += more
    return received.decode(errors="replace").split("\n", 1)[0].strip()


def _script(layout: Layout) -> str:
    lock, folder = quote(layout.apply_lock), quote(str(PurePosixPath(layout.apply_lock).parent))
    return f"""
mkdir -p {folder}
exec 9>>{lock}
if flock -n 9; then
  echo {quote(_holder())} >{lock}
  echo locked
  cat >/dev/null
else
  echo "another apply is at work here: $(cat {lock}); wait until it has ended"
fi"""


def deployer() -> str:
    """Who applies, from where: `user@machine`."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _holder() -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{deployer()}, process {os.getpid()}, since {now}"
