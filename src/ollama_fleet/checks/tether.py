"""What was in memory comes back even if the controller is killed or cut off: the host itself sees to it.

A small shell on the host holds the other end of a channel. As long as the controller lives it hears from it; told
that all is in order it just ends; where the channel breaks, or stays silent, it loads what was in memory before with
the host's own `ollama`.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from shlex import quote
from typing import Protocol

from paramiko.ssh_exception import SSHException
from pyinfra.api.host import Host

from ollama_fleet.api.client import LoadedModel, Ollama
from ollama_fleet.api.through import own_address, ssh_transport
from ollama_fleet.checks.interruption import told_of_interruptions
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.state import HostState

SILENCE = 90
"""Seconds without a word after which the controller counts as gone."""
BEAT = 20.0
DONE, ALIVE = b"done\n", b"alive\n"


class _Line(Protocol):
    def send(self, data: bytes) -> object: ...

    def close(self) -> None: ...


@contextmanager
def tethered(
    at: Host,
    server: Ollama,
    plan: HostPlan,
    state: HostState,
    ours: Sequence[str],
    problems: Sequence[str],
) -> Iterator[None]:
    """While this lasts, the host puts models back by itself if the controller vanishes.

    An interruption ends it in order. On Windows there is no tether: a process of ours would end with the connection
    that it is to outlive.

    Args:
        at: connected.
        server: the one there; what it has in memory now comes back.
        plan: of the host.
        state: as it was read.
        ours: the names of the models that may be loaded meanwhile.
        problems: where there are any at the end, things are not as before, and the host tries it, too.
    """
    if plan.layout.scope == "windows":
        yield
        return
    command = plan.layout.command if plan.release.adopted(state) else plan.layout.binary
    address = f"{own_address(plan.address)}:{plan.port}"
    with told_of_interruptions():
        line = _open(at, script(command, address, server.loaded(), ours))
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(BEAT):
                try:
                    line.send(ALIVE)
                except (OSError, SSHException):
                    return

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            stop.set()
            with suppress(OSError, SSHException):
                if not problems:
                    line.send(DONE)
                line.close()


def script(command: str, address: str, before: Sequence[LoadedModel], ours: Sequence[str]) -> str:
    """What runs on the host. The names come from its own server, and are quoted all the same."""
    ollama = quote(command)
    host, _, port = address.rpartition(":")
    if ":" in host and not host.startswith("["):
        address = f"[{host}]:{port}"
    stops = [f"{ollama} stop {quote(name)}" for name in ours]
    loads = [
        f"timeout 900 {ollama} run{' --keepalive=-1s' if model.stays else ''} {quote(model.name)} </dev/null"
        for model in before
    ]
    return "\n".join(
        [
            "trap '' HUP PIPE INT TERM",
            f"while word=$(timeout {SILENCE} sh -c 'read -r word && echo \"$word\"'); do",
            '  [ "$word" = done ] && exit 0',
            "done",
            "exec >/dev/null 2>&1",
            f'export OLLAMA_HOST={quote(address)} HOME="${{HOME:-/}}"',
            *stops,
            *loads,
        ]
    )


def _open(at: Host, text: str) -> _Line:
    transport = ssh_transport(at)
    if transport is None:
        return _Local(text)
    return _Remote(transport.open_session(timeout=30), text)


class _Remote:
    """A channel of the connection that pyinfra has; it breaks where that breaks."""

    def __init__(self, channel: object, text: str) -> None:
        self._channel = channel
        channel.exec_command(f"exec sh -c {quote(text)}")  # type: ignore[attr-defined]

    def send(self, data: bytes) -> object:
        return self._channel.sendall(data)  # type: ignore[attr-defined]

    def close(self) -> None:
        self._channel.close()  # type: ignore[attr-defined]


class _Local:
    """A process of its own session, whose standard input ends with this one."""

    def __init__(self, text: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the text is ours, its values are quoted
            ["/bin/sh", "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, data: bytes) -> object:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        return self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=5)
