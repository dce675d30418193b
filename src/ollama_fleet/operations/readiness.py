"""Waiting for a server that was just started, and saying why it does not come."""

from __future__ import annotations

import time
from shlex import quote

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.through import STARTING, is_connected
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.windows import running
from ollama_fleet.planner.layout import Layout, Scope

ASK_EVERY = 2.0
"""Seconds between two looks at the service while its server does not answer."""
BETWEEN_TRIES = 0.2
"""Seconds."""
ENOUGH_RESTARTS = 1
_SEEN = "ollama_fleet.listener"
"""The ports on which this run has seen the service's own process listen."""
ONLY = "ollama.service"
LOST = "the connection to the host broke off; run again to go on from here"


def wait_until_ready(
    at: Host, server: Ollama, scope: Scope, seconds: float = STARTING, *, unit: str = ONLY
) -> str:
    """Return the version as soon as the service's own process answers.

    Raises:
        StepFailed: it does not stay up, does not answer within `seconds`, somebody else has the port, or the host
            is gone.
    """
    begin = asked = time.monotonic()
    while True:
        try:
            version = server.version()
            _check_listener(at, server.port, scope, unit)
            return version
        except ApiError as error:
            now = time.monotonic()
            if not is_connected(at):
                raise StepFailed(LOST) from error
            if now >= asked + ASK_EVERY:
                asked = now
                if reason := _why_down(at, scope, unit):
                    raise StepFailed(reason) from error
            if now >= begin + seconds:
                raise StepFailed(f"no answer within {seconds:.0f} s after the start: {error}") from error
            time.sleep(BETWEEN_TRIES)


def expect_another_process(at: Host) -> None:
    """Forget who was seen to listen: the service is about to be started anew."""
    at.connector_data.pop(_SEEN, None)


def _check_listener(at: Host, port: int, scope: Scope, unit: str) -> None:
    """Make sure that it is the service's process that listens, and not another Ollama that happens to be there."""
    seen: set[int] = at.connector_data.setdefault(_SEEN, set())
    if port in seen:
        return
    try:
        told, output = at.run_shell_command(
            StringCommand(running.listener(port) if scope == "windows" else _listener(port, scope, unit)),
            _sudo=bool(at.data.get("_sudo")),
            _timeout=20,
        )
    except (OSError, SSHException, EOFError):
        return
    answer = output.stdout_lines[-1].strip() if told and output.stdout_lines else ""
    if answer.startswith("other"):
        who = answer.removeprefix("other").strip() or "a process of another user"
        raise StepFailed(f"port {port} is held by {who}, not by {unit}; stop that, or set another listen")
    if answer == "ours":
        seen.add(port)


def _listener(port: int, scope: Scope, unit: str) -> str:
    """Shell that prints `ours`, or `other` with who it is; the kernel's tables name sockets in hexadecimal."""
    user = "--user " if scope == "user" else ""
    state = Layout.of(scope).state.replace("~", '"$HOME"')
    return f"""
XDG_RUNTIME_DIR=${{XDG_RUNTIME_DIR:-/run/user/$(id -u)}}; export XDG_RUNTIME_DIR
main=$(systemctl {user}show {quote(unit)} -p MainPID --value 2>/dev/null)
[ "${{main:-0}}" -gt 0 ] || main=$(cat {state}/server.pid 2>/dev/null)
sockets=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
  sed -nE 's/^ *[0-9]+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A( +[^ ]+){{5}} +([0-9]+).*/\\2/p')
[ -n "$sockets" ] || exit 0
holds() {{ for socket in $sockets; do
  ls -l "/proc/$1/fd" 2>/dev/null | grep -q "socket:.$socket]" && return 0; done; return 1; }}
if [ "${{main:-0}}" -gt 0 ] && holds "$main"; then echo ours; exit 0; fi
for directory in /proc/[0-9]*; do
  pid=${{directory#/proc/}}
  if holds "$pid"; then
    echo "other $(cat "$directory/comm") (process $pid, $(sed -n 's/^.*:.*\\///p' "$directory/cgroup" | tail -n 1))"
    exit 0
  fi
done
echo other"""


def _why_down(at: Host, scope: Scope, unit: str) -> str | None:
    """What systemd says of a service that it has given up, or starts again and again; None where it runs."""
    if scope == "windows":
        return _why_ended(at, Layout.of("windows").of_unit(unit))
    user = "--user " if scope == "user" else ""
    command = (
        f"systemctl {user}show {quote(unit)} -p ActiveState -p SubState -p NRestarts -p ExecMainStatus; "
        f"journalctl {user}--quiet --unit={quote(unit)} _COMM=ollama --lines=1 --output=cat 2>/dev/null | "
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
    return f"{unit} does not stay up, exit status {facts.get('ExecMainStatus', 'unknown')}{said}"


def _why_ended(at: Host, layout: Layout) -> str | None:
    """What Task Scheduler says of a task whose server has ended; None where it runs."""
    try:
        told, output = at.run_shell_command(StringCommand(running.why_down(layout)), _timeout=60)
    except (OSError, SSHException, EOFError):
        return None
    lines = output.stdout_lines if told else []
    if not lines or lines[0].strip() in ("state Running", "state Queued"):
        return None
    last = next((line.removeprefix("said ").strip() for line in lines if line.startswith("said ")), "")
    said = f"; its last words: {last[:200]}" if last else ""
    word = lines[0].removeprefix("state ").strip() or "gone"
    return f"the task \\Fleet\\{layout.task} does not stay up, it is {word}{said}"
