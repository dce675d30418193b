"""The running service, under systemd or under a script of ours."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from shlex import quote

from pydantic import SecretStr
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.readiness import expect_another_process
from ollama_fleet.operations.shell import restart_is_due, script
from ollama_fleet.planner.items.service import Manager, WantedService, manager_of
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.state import HostState

SESSION = "export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
"""Where an account's systemd is found."""


@operation()
def service(
    environment: Mapping[str, str],
    secrets: Mapping[str, SecretStr] | None = None,
    restart_because: Sequence[str] = (),
    scope: Scope = "system",
    models_dir: str | None = None,
) -> Generator[StringCommand, None, None]:
    """Have the service enabled and running with these variables in its environment.

    It is restarted only where something that it reads has changed, or where the running process was started
    with other values.

    Args:
        environment: variables the process must have.
        secrets: the same for values that nobody may see.
        restart_because: what this run has changed of the things that the server reads.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look(scope, models_dir)
    wanted = WantedService(
        layout, manager_of(state.platform, layout), environment, secrets or {}, tuple(restart_because)
    )
    if not wanted.differences(state) and not wanted.restart_because:
        host.noop("service ollama is enabled and running")
        return
    mark_changed(host)
    expect_another_process(host)
    if wanted.manager == "supervisor":
        yield script(*_supervised(layout))
    else:
        yield script(*_systemd(wanted, state))


def _systemd(wanted: WantedService, state: HostState) -> list[str]:
    user = wanted.manager == "systemd-user"
    systemctl = "systemctl --user" if user else "systemctl"
    lines = []
    if user:
        lines.append(SESSION)
        if not state.platform.lingering:
            # With the name: from cron or a container the caller belongs to no session that could tell whom is meant.
            lines.append(
                'loginctl enable-linger "$(id -un)" || { echo "lingering is refused: ask an administrator for '
                'loginctl enable-linger $(id -un)" >&2; exit 1; }'
            )
    if state.service.load == "masked" or state.service.enabled.startswith("masked"):
        # A mask in /etc has been replaced by the unit file; this takes away one in /run.
        lines.append(f"{systemctl} unmask --runtime --quiet ollama.service")
    restart = wanted.needs_restart(state)
    others = " ".join(quote(unit) for unit in wanted.in_the_way(state))
    lines += [
        *([restart_is_due(wanted.layout)] if restart else []),
        f"{systemctl} daemon-reload",
        f"{systemctl} enable --quiet ollama.service",
    ]
    if restart:
        if user:
            # A script kept it running while the account had no systemd; the two would fight for the port.
            lines += end_supervised(wanted.layout)
        if others:
            lines.append(f"{systemctl} disable --now --quiet {others}")
        lines += [
            f"{systemctl} reset-failed ollama.service 2>/dev/null || true",
            f"{systemctl} restart ollama.service",
            f"rm -f {quote(wanted.layout.restart_due)}",
        ]
    return lines


def restart_lines(manager: Manager, layout: Layout) -> list[str]:
    """Lines of sh that start the server anew with the unit and the variables that are there."""
    if manager == "supervisor":
        return _supervised(layout)
    systemctl = "systemctl"
    lines = []
    if manager == "systemd-user":
        systemctl += " --user"
        lines.append(SESSION)
    return [
        *lines,
        f"{systemctl} daemon-reload",
        f"{systemctl} reset-failed ollama.service 2>/dev/null || true",
        f"{systemctl} restart ollama.service",
        f"rm -f {quote(layout.restart_due)}",
    ]


def _supervised(layout: Layout) -> list[str]:
    return [
        *end_supervised(layout),
        f"setsid /bin/sh {quote(layout.supervisor)} >>server.log 2>&1 </dev/null &",
        f"rm -f {quote(layout.restart_due)}",
    ]


def end_supervised(layout: Layout) -> list[str]:
    """End the script and its server, if they run, and wait until they have."""
    return [
        f"cd {quote(layout.state)}",
        "for name in supervisor server; do",
        '  old=$(cat "$name.pid" 2>/dev/null) || continue',
        # The number may be of another process by now, after a reboot.
        '  grep -aqE "supervise.sh|bin/ollama.serve" "/proc/$old/cmdline" 2>/dev/null || continue',
        '  kill "$old" 2>/dev/null || continue',
        "  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do",
        '    kill -0 "$old" 2>/dev/null || break; sleep 0.5',
        "  done",
        '  kill -9 "$old" 2>/dev/null || true',
        "done",
        "rm -f supervisor.pid server.pid",
    ]
