"""The servers of a Windows host: for each a start script and a scheduled task, and those that have to go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.host_decisions import planned_devices
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.items.windows.service import WindowsGoneService, WindowsService
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.render import Templates
from ollama_fleet.planner.serving import Given, environment_of, loaded_of, placements_on
from ollama_fleet.planner.several import named_apart, slot_environment
from ollama_fleet.planner.slots import Note, Slot, lost, note_of, slots_of
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows import task
from ollama_fleet.spec.hosts import HostSpec


@dataclass(frozen=True, slots=True)
class Server:
    """One of a host's servers before it is compared with what is there."""

    slot: Slot
    layout: Layout
    environment: Mapping[str, str]
    """Its variables that anybody may see."""
    placements: tuple[Placement, ...]
    script: WantedFile


def servers_of(spec: HostSpec, release: WindowsRelease, given: Given) -> tuple[Server, ...]:
    """Decide every server of a host: the only one, which has no name, or several.

    Raises:
        PlanError: a device is not there, or a model does not work out.
        SpecErrors: what was said of a model does not either.
        RenderError: a template is missing or wrong.
    """
    state, layout = given.state, given.layout
    if spec.instances is None:
        devices = planned_devices(spec, state.devices, state.device_error)
        slots: tuple[Slot, ...] = (Slot("", spec.listen.port, tuple(devices), spec),)
        placed = [placements_on(spec, devices, given)]
        environments = [environment_of(spec, release, layout)]
    else:
        slots = slots_of(spec, state.devices, state.device_error, Note.on(state, layout))
        placed = named_apart(slots, [placements_on(slot.spec, slot.devices, given) for slot in slots])
        environments = [slot_environment(number, slot, release, layout) for number, slot in enumerate(slots)]
    program = release.program(state)
    found = []
    for slot, placements, environment in zip(slots, placed, environments, strict=True):
        own = layout.for_instance(slot.name) if slot.name else layout
        script = _script(program, environment, given.templates, given.secrets, own)
        found.append(Server(slot, own, environment, placements, script))
    return tuple(found)


def instance_of(
    server: Server, release: WindowsRelease, given: Given, read_by_all: Sequence[Item]
) -> Instance:
    """The server as it should be; what it and all others read, beside its script, restarts it where it changes."""
    slot, script = server.slot, server.script
    because = dict.fromkeys(item.kind for item in (*read_by_all, script) if item.differences(given.state))
    service = WindowsService(
        server.layout,
        "task",
        server.environment,
        given.secrets,
        tuple(because),
        program=release.program(given.state),
        script_hash=hashlib.sha256(script.content).hexdigest(),
        xml=given.templates.render(
            "ollama-task.xml.j2", {"shell": task.SHELL, "arguments": task.arguments(script.path)}
        ),
    )
    return Instance(
        name=slot.name,
        layout=server.layout,
        address=str(slot.spec.listen.host),
        port=slot.port,
        devices=slot.devices,
        service=service,
        placements=server.placements,
        loaded=loaded_of(slot.spec, server.placements, slot.name),
    )


def note_file(servers: Sequence[Server], spec: HostSpec, layout: Layout) -> tuple[WantedFile, ...]:
    """The file that says which of several servers has which card; nothing where there is but one."""
    slots = [server.slot for server in servers if server.slot.name]
    if not slots:
        return ()
    text = f"# Written by {MARK}.\n{note_of(slots, spec.listen.port)}"
    return (WantedFile(layout.instance_note, text.encode(), "", "", mode=0),)


def told_of(servers: Sequence[Server], state: HostState, layout: Layout) -> list[str]:
    """What the user should know of several servers, one line each."""
    several = any(server.slot.name for server in servers)
    return lost(Note.on(state, layout), state.devices) if several else []


def gone(servers: Sequence[Server], state: HostState, layout: Layout) -> tuple[WindowsGoneService, ...]:
    """The servers that are on the host and not among these; with the last of several goes their note."""
    names = {server.slot.name for server in servers}
    going = [layout.for_instance(name) for name in sorted(state.instances.keys() - names)]
    found = [WindowsGoneService(own, (own.environment,)) for own in going]
    if found and names == {""}:
        found[-1] = WindowsGoneService(going[-1], (layout.instance_note, going[-1].environment))
    only = WindowsGoneService(layout, (layout.environment,))
    if "" not in names and only.differences(state):
        found.insert(0, only)
    return tuple(found)


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
        "task": layout.task,
        "own": f"-{layout.instance}" if layout.instance else "",
    }
    text = templates.render("ollama-serve.ps1.j2", values)
    # With a byte order mark: without one PowerShell 5.1 reads a file in the machine's code page.
    content = text.replace("\n", "\r\n").encode("utf-8-sig")
    return WantedFile(layout.environment, content, "", "", mode=0, secret=True)
