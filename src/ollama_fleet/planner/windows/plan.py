"""What a Windows host should be: the same plan, of Windows' own items where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.items.firewall import ANYWHERE
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.items.windows.desktop_app import NoDesktopApp
from ollama_fleet.planner.items.windows.firewall import WindowsFirewall
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.items.windows.service import WindowsGoneService
from ollama_fleet.planner.items.windows.variable import WantedVariable
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.serving import Given
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.servers import gone, instance_of, note_file, servers_of, told_of
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
    files: tuple[WantedFile, ...]
    """Start scripts, and which of several servers has which card."""
    instances: tuple[Instance, ...]
    gone: tuple[WindowsGoneService, ...]
    told: tuple[str, ...]


def check_windows(state: HostState) -> None:
    """Raises PlanError where the connection's account cannot change the system."""
    if state.platform.uid != 0:
        raise PlanError(
            f"{state.platform.user} is no administrator there; let an account of the group Administrators in "
            "(its key belongs into C:\\ProgramData\\ssh\\administrators_authorized_keys)"
        )


def windows_parts(spec: HostSpec, release: WindowsRelease, given: Given) -> WindowsParts:
    """Decide the items.

    Raises:
        PlanError: a device is not there, or a model does not work out.
        SpecErrors: what was said of a model does not either.
        RenderError: a template is missing or wrong.
    """
    state, layout = given.state, given.layout
    servers = servers_of(spec, release, given)
    for server in servers:
        check_names(server.placements)
    variables = _variables(spec, [server.environment for server in servers], state)
    undone = [variable for variable in variables if variable.value is None]
    desktop_app = NoDesktopApp()
    # Whoever stops the tray app stops its server, and cannot tell it from those of several that are ours.
    read_by_all: list[Item] = [release, *undone, *([desktop_app] if spec.instances is not None else [])]
    sources = tuple(map(str, spec.allow_from)) or (ANYWHERE if spec.expose else ())
    ports = tuple(sorted(server.slot.port for server in servers))
    return WindowsParts(
        directories=tuple(WantedDirectory(path, "", "", mode=0) for path in (layout.state, layout.models)),
        variables=variables,
        desktop_app=desktop_app,
        firewall=WindowsFirewall(ports, sources, layout, present=not spec.listen.is_loopback),
        files=(*(server.script for server in servers), *note_file(servers, spec, layout)),
        instances=tuple(instance_of(server, release, given, read_by_all) for server in servers),
        gone=gone(servers, state, layout),
        told=tuple(told_of(servers, state, layout)),
    )


def variable_names(spec: HostSpec) -> frozenset[str]:
    """The variables of the whole system that are ours on a host."""
    return frozenset(
        {"OLLAMA_HOST", "OLLAMA_MODELS", *(name for name in spec.env if name.startswith(PREFIX))}
    )


def _variables(
    spec: HostSpec, environments: Sequence[Mapping[str, str]], state: HostState
) -> tuple[WantedVariable, ...]:
    """What the whole system has: the first server's address, and what all servers have alike."""
    first, *others = environments
    names = variable_names(spec)
    wanted = {
        name: value
        for name, value in first.items()
        if name in names and (name == "OLLAMA_HOST" or all(other.get(name) == value for other in others))
    }
    there = state.windows.variables if state.windows else {}
    return (
        *(WantedVariable(name, value) for name, value in wanted.items()),
        *(WantedVariable(name, None) for name in sorted(there) if name not in wanted),
    )


def windows_remarks(
    parts: WindowsParts, release: WindowsRelease, state: HostState, placements: Sequence[Placement]
) -> Iterator[str]:
    """Yield what a user should know, one line each."""
    yield from parts.told
    yield from parts.firewall.notes(state)
    windows = state.windows
    for setup in windows.setups if windows else ():
        if setup.program == release.program(state):
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
