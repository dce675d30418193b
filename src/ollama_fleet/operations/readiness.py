"""Waiting for a server that was just started, and saying why it does not come."""

from __future__ import annotations

import time

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.through import STARTING, is_connected
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.layout import Scope

ASK_EVERY = 2.0
"""Seconds between two looks at the service while its server does not answer."""
BETWEEN_TRIES = 0.2
"""Seconds."""
ENOUGH_RESTARTS = 2
LOST = "the connection to the host broke off; run again to go on from here"


def wait_until_ready(at: Host, server: Ollama, scope: Scope, seconds: float = STARTING) -> str:
    """Return the version as soon as the server answers.

    Raises:
        StepFailed: it does not stay up, does not answer within `seconds`, or the host is gone.
    """
    begin = asked = time.monotonic()
    while True:
        try:
            return server.version()
        except ApiError as error:
            now = time.monotonic()
            if not is_connected(at):
                raise StepFailed(LOST) from error
            if now >= asked + ASK_EVERY:
                asked = now
                if reason := _why_down(at, scope):
                    raise StepFailed(reason) from error
            if now >= begin + seconds:
                raise StepFailed(f"no answer within {seconds:.0f} s after the start: {error}") from error
            time.sleep(BETWEEN_TRIES)


def _why_down(at: Host, scope: Scope) -> str | None:
    """What systemd says of a service that it has given up, or starts again and again; None where it runs."""
    user = "--user " if scope == "user" else ""
    command = (
        f"systemctl {user}show ollama.service -p ActiveState -p SubState -p NRestarts -p ExecMainStatus; "
        f"journalctl {user}--quiet --unit=ollama.service _COMM=ollama --lines=1 --output=cat 2>/dev/null | "
        "sed 's/^/said /'"
    )
    try:
        told, output = at.run_shell_command(
            StringCommand(command), _sudo=bool(at.data.get("_sudo")), _timeout=20
        )
    except (OSError, SSHException, EOFError):
        return None
    lines = output.stdout_lines if told else []
    facts = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("said "))
    given_up = facts.get("ActiveState") == "failed"
    flapping = facts.get("SubState") == "auto-restart" and int(facts.get("NRestarts", 0)) >= ENOUGH_RESTARTS
    if not given_up and not flapping:
        return None
    last = next((line.removeprefix("said ").strip() for line in lines if line.startswith("said ")), "")
    said = f"; its last words: {last[:200]}" if last else ""
    return f"ollama.service does not stay up, exit status {facts.get('ExecMainStatus', 'unknown')}{said}"
