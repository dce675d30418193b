"""A host with several servers: their files and units, and what of an earlier arrangement has to go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.host_files import HostFiles, has_foreign_unit, instance_files
from ollama_fleet.planner.instance import Instance, with_pins
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.items.service import GoneService, WantedService
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.serving import Given, environment_of, loaded_of, placements_on
from ollama_fleet.planner.slots import Note, Slot, lost, note_of, slots_of
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.variants import names_of
from ollama_fleet.spec.hosts import HostSpec

NO_PRUNE = "OLLAMA_NOPRUNE"
"""A server that starts removes the blobs that no model uses, and with them those of a pull that another one is at."""


@dataclass(frozen=True, slots=True)
class Several:
    """The servers of a host, in the order of their list or of their ports."""

    instances: tuple[Instance, ...]
    files: HostFiles
    gone: tuple[GoneService, ...]
    told: tuple[str, ...]
    """What the user should know of them."""


def several(spec: HostSpec, release: WantedRelease, binary: str, given: Given) -> Several:
    """Decide every server of a host that asks for several.

    Raises:
        PlanError: a device is not there, or a model does not work out.
        SpecErrors: what was said of a model does not either.
    """
    state, layout = given.state, given.layout
    note = Note.on(state, layout)
    slots = slots_of(spec, state.devices, state.device_error, note)
    placed = named_apart(slots, [placements_on(slot.spec, slot.devices, given) for slot in slots])
    environments = {
        slot.name: slot_environment(number, slot, release, layout) for number, slot in enumerate(slots)
    }
    files = instance_files(
        layout,
        given.templates,
        binary=binary,
        environments=environments,
        secrets=given.secrets,
        note=note_of(slots, spec.listen.port),
        devices=[device for slot in slots for device in slot.devices],
    )
    instances = []
    for slot, placements in zip(slots, placed, strict=True):
        own = layout.for_instance(slot.name)
        mine = (own.unit, own.drop_in, own.environment)
        read: list[Item] = [release, *(item for item in files.of_server if item.path in mine)]
        because = dict.fromkeys(item.kind for item in read if item.differences(state))
        service = WantedService(own, "systemd", environments[slot.name], given.secrets, tuple(because))
        instances.append(
            Instance(
                name=slot.name,
                layout=own,
                address=str(slot.spec.listen.host),
                port=slot.port,
                devices=slot.devices,
                service=service,
                placements=placements,
                loaded=loaded_of(slot.spec, placements, slot.name),
            )
        )
    names = {slot.name for slot in slots}
    gone = (*_only_one(state, layout), *gone_instances(state, layout, keep=names))
    return Several(tuple(instances), files, gone, tuple(lost(note, state.devices)))


def gone_instances(state: HostState, layout: Layout, keep: Iterable[str] = ()) -> tuple[GoneService, ...]:
    """The servers that are on a host and not among these; with the last of them goes what they have in common."""
    stay = frozenset(keep)
    going = [layout.for_instance(name) for name in sorted(state.instances.keys() - stay)]
    shared = () if stay else (layout.instance_unit, layout.instance_drop_in, layout.instance_note)
    gone = [GoneService(own, (own.environment,)) for own in going]
    if gone and shared:
        gone[-1] = GoneService(going[-1], (*shared, going[-1].environment))
    return tuple(gone)


def _only_one(state: HostState, layout: Layout) -> Sequence[GoneService]:
    """The server that the host had alone: its unit goes, if it is ours."""
    files = [layout.drop_in, layout.environment]
    if not has_foreign_unit(state, layout):
        files.append(layout.unit)
    gone = GoneService(layout, tuple(files))
    return [gone] if gone.differences(state) else []


def slot_environment(number: int, slot: Slot, release: WantedRelease, layout: Layout) -> dict[str, str]:
    """The variables of one of several servers that anybody may see; `number` counts them from 0."""
    environment = environment_of(slot.spec, release, layout)
    if number:
        environment.setdefault(NO_PRUNE, "1")
    return with_pins(environment, slot.devices)


def named_apart(
    slots: Sequence[Slot], placed: Sequence[tuple[Placement, ...]]
) -> list[tuple[Placement, ...]]:
    """The placements of each slot, under other names where different things are made of one model."""
    names = names_of(
        [(slot.name, slot.devices, placements) for slot, placements in zip(slots, placed, strict=True)]
    )
    return [
        tuple(placement.renamed(name) for placement, name in zip(placements, own, strict=True))
        for placements, own in zip(placed, names, strict=True)
    ]
