"""The operations of a Windows host, under one name."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.readiness import expect_another_process
from ollama_fleet.operations.windows.script import (
    administrators_only,
    make_directory,
    powershell,
    register_task,
    remove,
    start_task,
    stop_server,
    stop_some,
    unregister_task,
    write_secret_file,
)
from ollama_fleet.operations.windows.startup import kept_link
from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.items.service import GoneService
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.items.windows.desktop_app import NoDesktopApp
from ollama_fleet.planner.items.windows.service import WindowsService
from ollama_fleet.planner.items.windows.variable import WantedVariable
from ollama_fleet.planner.windows.quoting import literal

Wanted = TypeVar("Wanted", bound=Item)


@operation()
def directories(
    wanted: Sequence[WantedDirectory], models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Make directories; our own is shut to all but administrators, since SYSTEM runs what lies there.

    Args:
        wanted: the directories.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    _, layout = look("windows", models_dir)
    lines = []
    for item in _different(wanted, models_dir, "directories are as wanted"):
        lines.append(make_directory(item.path))
        if item.path == layout.state:
            lines.append(administrators_only(item.path))
    if lines:
        yield powershell(*lines)


@operation()
def variables(
    wanted: Sequence[WantedVariable], models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Set and remove variables of the whole system, and read them back.

    Args:
        wanted: the variables; one without a value is removed.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    lines = []
    for item in _different(wanted, models_dir, "variables are as wanted"):
        name = literal(item.name)
        value = "$null" if item.value is None else literal(item.value)
        lines += [
            f"[Environment]::SetEnvironmentVariable({name}, {value}, 'Machine')",
            f"if ([Environment]::GetEnvironmentVariable({name}, 'Machine') -cne {value}) "
            f"{{ throw {literal(f'the variable {item.name} does not keep its value')} }}",
        ]
    if lines:
        yield powershell(*lines)


@operation()
def desktop_app(wanted: NoDesktopApp, models_dir: str | None = None) -> Generator[StringCommand, None, None]:
    """Stop the tray app of OllamaSetup, and keep it from starting at the next login.

    Args:
        wanted: that there is none.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    state, layout = look("windows", models_dir)
    if not wanted.differences(state) or state.windows is None:
        host.noop("no tray app")
        return
    mark_changed(host)
    lines = [
        "foreach ($process in @(Get-CimInstance -ClassName Win32_Process -Filter 'Name = ''ollama app.exe''')) {",
        "  Stop-Process -Id $process.ProcessId -Force",
        "}",
        make_directory(layout.state),
        # Kept, and put back when the host is retired.
        *(
            f"Move-Item -LiteralPath {literal(link)} -Destination {literal(kept_link(layout, link))} -Force"
            for setup in state.windows.setups
            if (link := setup.startup_link)
        ),
        # Its server would go on without it.
        stop_server(),
    ]
    yield powershell(*lines)


@operation()
def files(
    wanted: Sequence[WantedFile], models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Write files, each beside its place and then moved into it.

    Args:
        wanted: the files; their content is in no command line.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    for item in _different(wanted, models_dir, "files are as wanted"):
        yield write_secret_file(item.path, item.content)


def _different(wanted: Sequence[Wanted], models_dir: str | None, otherwise: str) -> list[Wanted]:
    """Those of the items that differ: then the host is about to change. Where none does, pyinfra is told so."""
    state, _ = look("windows", models_dir)
    different = [item for item in wanted if item.differences(state)]
    if different:
        mark_changed(host)
    else:
        host.noop(otherwise)
    return different


@operation()
def service(wanted: WindowsService, models_dir: str | None = None) -> Generator[StringCommand, None, None]:
    """Have the task registered and enabled, and its server running from the script of now.

    A process started over SSH would die with the connection, so it is always the task that starts it.

    Args:
        wanted: the task and its server.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    state, _ = look("windows", models_dir)
    if not wanted.differences(state) and not wanted.restart_because:
        host.noop("the task is registered and its server runs")
        return
    mark_changed(host)
    expect_another_process(host)
    lines = []
    if wanted.needs_registration(state):
        lines.append(register_task(wanted.layout.task, literal(wanted.xml)))
    if wanted.needs_restart(state):
        lines += [stop_server(), start_task(wanted.layout.task)]
    yield powershell(*lines)


@operation()
def instances(
    wanted: Sequence[WindowsService], gone: Sequence[GoneService] = (), models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Have the tasks of these servers registered and their servers running, and others of ours stopped and removed.

    As on the other hosts: those that go are stopped before any is started, and only those are restarted that read
    something which has changed.

    Args:
        wanted: servers with names of their own; none leaves the only one to `service`.
        gone: servers that go, with their files.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    state, _ = look("windows", models_dir)
    different = [one for one in wanted if one.differences(state) or one.restart_because]
    going = [one for one in gone if one.differences(state)]
    if not different and not going:
        host.noop("the tasks are registered and their servers run")
        return
    mark_changed(host)
    expect_another_process(host)
    restarting = [one for one in different if one.needs_restart(state)]
    lines = []
    stopping = [*(one.layout for one in going), *(one.layout for one in restarting)]
    if stopping:
        lines.append(stop_some(stopping))
    for leaving in going:
        if state.windows is not None and state.windows.task_of(leaving.layout.instance) is not None:
            lines.append(unregister_task(leaving.layout.task))
        lines += [remove(path) for path in (*leaving.files, *leaving.layout.server_files)]
    for one in different:
        if one.needs_registration(state):
            lines.append(register_task(one.layout.task, literal(one.xml)))
    lines += [start_task(one.layout.task) for one in restarting]
    yield powershell(*lines)
