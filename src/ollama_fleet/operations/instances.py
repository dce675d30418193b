"""Several servers of one host: their units stopped and removed, enabled and started, in one go."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import PurePosixPath
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.readiness import expect_another_process
from ollama_fleet.operations.shell import restart_is_due, script
from ollama_fleet.planner.items.service import GoneService, WantedService
from ollama_fleet.planner.state import HostState


@operation()
def instances(
    wanted: Sequence[WantedService],
    gone: Sequence[GoneService] = (),
    models_dir: str | None = None,
) -> Generator[StringCommand, None, None]:
    """Have these servers enabled and running, and others of ours stopped and removed.

    Those that go are stopped before any is started, since a port may pass from one to another. Only those are
    restarted that read something which has changed.

    Args:
        wanted: servers with names of their own; none leaves those that run alone.
        gone: servers that go, with their files.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look("system", models_dir)
    different = [one for one in wanted if one.differences(state) or one.restart_because]
    going = [one for one in gone if one.differences(state)]
    if not different and not going:
        host.noop("the instances are enabled and running")
        return
    mark_changed(host)
    expect_another_process(host)
    restarting = [one for one in different if one.needs_restart(state)]
    lines = [restart_is_due(layout)] if restarting else []
    for leaving in going:
        lines += _removal(leaving)
    lines.append("systemctl daemon-reload")
    for one in different:
        lines += _enabling(one, state)
    if restarting:
        units = _units(restarting)
        lines += [
            f"systemctl reset-failed {units} 2>/dev/null || true",
            f"systemctl restart {units}",
            f"rm -f {quote(layout.restart_due)}",
        ]
    yield script(*lines)


def _units(services: Sequence[WantedService]) -> str:
    return " ".join(quote(one.layout.service) for one in services)


def _removal(one: GoneService) -> list[str]:
    unit = quote(one.layout.service)
    folders = dict.fromkeys(str(PurePosixPath(path).parent) for path in one.files)
    ours = [folder for folder in folders if folder.endswith(".service.d") or folder == one.layout.instances]
    return [
        f"systemctl disable --quiet {unit} 2>/dev/null || true",
        f"systemctl stop {unit} 2>/dev/null || true",
        f"systemctl reset-failed {unit} 2>/dev/null || true",
        f"rm -f {' '.join(map(quote, one.files))}",
        *(f"rmdir {quote(folder)} 2>/dev/null || true" for folder in ours),
    ]


def _enabling(one: WantedService, state: HostState) -> list[str]:
    unit = quote(one.layout.service)
    there = state.server(one.layout.instance)
    masked = there.load == "masked" or there.enabled.startswith("masked")
    others = " ".join(quote(other) for other in one.in_the_way(state))
    return [
        *(
            [f"systemctl unmask --quiet {unit}", f"systemctl unmask --runtime --quiet {unit}"]
            if masked
            else []
        ),
        *([f"systemctl disable --now --quiet {others}"] if others else []),
        f"systemctl enable --quiet {unit}",
    ]
