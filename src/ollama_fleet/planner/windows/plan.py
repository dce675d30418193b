"""What a Windows host should be: the same plan, of Windows' own items where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.items.firewall import ANYWHERE
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.items.windows.desktop_app import NoDesktopApp
from ollama_fleet.planner.items.windows.firewall import WindowsFirewall
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.items.windows.service import WindowsService
from ollama_fleet.planner.items.windows.variable import WantedVariable
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.render import Templates
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows import task
from ollama_fleet.spec.hosts import HostSpec

PREFIX = "OLLAMA_"
"""Variables of the whole system that are ours: what the `ollama` command and the tutorial's reader look for."""


@dataclass(frozen=True, slots=True)
class WindowsParts:
    """Items of a Windows host."""

    directories: tuple[WantedDirectory, ...]
    variables: tuple[WantedVariable, ...]
    desktop_app: NoDesktopApp
    firewall: WindowsFirewall
    script: WantedFile
    service: WindowsService


def check_windows(state: HostState) -> None:
    """Raises PlanError where the connection's account cannot change the system."""
    if state.platform.uid != 0:
        raise PlanError(
            f"{state.platform.user} is no administrator there; let an account of the group Administrators in "
            "(its key belongs into C:\\ProgramData\\ssh\\administrators_authorized_keys)"
        )


def windows_parts(
    spec: HostSpec,
    release: WindowsRelease,
    environment: Mapping[str, str],
    templates: Templates,
    secrets: Mapping[str, SecretStr],
    state: HostState,
    layout: Layout,
) -> WindowsParts:
    """Decide the items.

    Raises:
        RenderError: a template is missing or wrong.
    """
    program = release.program(state)
    script = _script(program, environment, templates, secrets, layout)
    variables = _variables(spec, environment, state)
    undone = [variable for variable in variables if variable.value is None]
    read_by_server: Sequence[Item] = (release, script, *undone)
    because = dict.fromkeys(item.kind for item in read_by_server if item.differences(state))
    xml = templates.render(
        "ollama-task.xml.j2", {"shell": task.SHELL, "arguments": task.arguments(script.path)}
    )
    sources = tuple(map(str, spec.allow_from)) or (ANYWHERE if spec.expose else ())
    return WindowsParts(
        directories=tuple(WantedDirectory(path, "", "", mode=0) for path in (layout.state, layout.models)),
        variables=variables,
        desktop_app=NoDesktopApp(),
        firewall=WindowsFirewall((spec.listen.port,), sources, layout, present=not spec.listen.is_loopback),
        script=script,
        service=WindowsService(
            layout,
            "task",
            environment,
            secrets,
            tuple(because),
            program=program,
            script_hash=hashlib.sha256(script.content).hexdigest(),
            xml=xml,
        ),
    )


def _script(
    program: str,
    environment: Mapping[str, str],
    templates: Templates,
    secrets: Mapping[str, SecretStr],
    layout: Layout,
) -> WantedFile:
    hidden = {name: value.get_secret_value() for name, value in secrets.items()}
    values = {
        "environment": dict(sorted({**environment, **hidden}.items())),
        "program": program,
        "state": layout.state,
    }
    text = templates.render("ollama-serve.ps1.j2", values)
    # With a byte order mark: without one PowerShell 5.1 reads a file in the machine's code page.
    content = text.replace("\n", "\r\n").encode("utf-8-sig")
    return WantedFile(layout.environment, content, "", "", mode=0, secret=True)


def variable_names(spec: HostSpec) -> frozenset[str]:
    """The variables of the whole system that are ours on a host."""
    return frozenset(
        {"OLLAMA_HOST", "OLLAMA_MODELS", *(name for name in spec.env if name.startswith(PREFIX))}
    )


def _variables(
    spec: HostSpec, environment: Mapping[str, str], state: HostState
) -> tuple[WantedVariable, ...]:
    names = variable_names(spec)
    wanted = {name: value for name, value in environment.items() if name in names}
    there = state.windows.variables if state.windows else {}
    return (
        *(WantedVariable(name, value) for name, value in wanted.items()),
        *(WantedVariable(name, None) for name in sorted(there) if name not in wanted),
    )


def windows_remarks(
    parts: WindowsParts, release: WindowsRelease, state: HostState, placements: Sequence[Placement]
) -> Iterator[str]:
    """Yield what a user should know, one line each."""
    yield from parts.firewall.notes(state)
    windows = state.windows
    for setup in windows.setups if windows else ():
        if setup.program == parts.service.program:
            yield f"{setup.program} of OllamaSetup is used as it is; `ollama-fleet` runs it as a service"
        else:
            yield f"{setup.program} of OllamaSetup is left, but not used: version {release.version} is asked for"
        if setup.settings:
            yield (
                "the tray app's own settings override OLLAMA_HOST, OLLAMA_MODELS and others for the server that it "
                "starts; it is kept from starting"
            )
    if state.device_error:
        yield f"the GPUs cannot be read: {state.device_error}"
    for placement in placements:
        for remark in (*placement.resolved.remarks, *placement.decision.remarks):
            yield f"{placement.resolved.name}: {remark}"


def check_names(placements: Sequence[Placement]) -> None:
    """Raises PlanError for a model whose name is no path on Windows: a registry with a port."""
    for placement in placements:
        for name in (placement.base.model, placement.created.model):
            if not name.valid_on_windows:
                raise PlanError(
                    f"{name.short} cannot be stored on Windows: its registry has a port, and ':' cannot stand in the "
                    "name of a directory there; serve the registry on port 80 or 443"
                )
