"""Which instance of a host has which devices, under which name and at which port.

With `instances: per-gpu` a card keeps its name and its port as long as it is there, whatever its index: the last
apply has noted on the host which card has which, by UUID. Where fleet.yaml declares the GPUs, names and ports follow
from it, one for each card in the order of the list, and the note only tells two cards of a kind apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ollama_fleet.hardware.catalogue import candidates
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_decisions import declared_devices, planned_devices
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.instances import PER_GPU, InstanceSpec, is_uuid

UNLISTED = "gpu"
"""Name of an instance on a card that is not in the catalogue."""


@dataclass(frozen=True, slots=True)
class Slot:
    """An instance before anything is decided about it: what is asked of it, and the devices that it has."""

    name: str
    port: int
    devices: tuple[Device, ...]
    spec: HostSpec
    """What is asked of the host where this instance is all that there is."""


@dataclass(frozen=True, slots=True)
class Note:
    """What an apply has noted on the host: the first port, and the name, port and UUIDs of each instance."""

    first: int | None = None
    taken: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """Name to port and UUIDs."""

    @classmethod
    def on(cls, state: HostState, layout: Layout) -> Note:
        """The note of a host; an empty one where there is none."""
        there = state.files.get(layout.instance_note)
        return cls.parse(there.content if there else None)

    @classmethod
    def parse(cls, content: bytes | None) -> Note:
        """Read the file; what is not understood counts as not there."""
        first: int | None = None
        taken: dict[str, tuple[int, tuple[str, ...]]] = {}
        for line in (content or b"").decode(errors="replace").splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == "first" and words[1].isdecimal():
                first = int(words[1])
            elif len(words) >= 3 and words[0] == "instance" and words[2].isdecimal():
                taken[words[1]] = (int(words[2]), tuple(words[3:]))
        return cls(first, taken)


def note_of(slots: Iterable[Slot], first: int) -> str:
    """Return the note for these instances."""
    lines = [" ".join(["instance", slot.name, str(slot.port), *_uuids(slot)]) for slot in slots]
    return "\n".join([f"first {first}", *lines, ""])


def lost(note: Note, found: Iterable[Device]) -> list[str]:
    """Say of each instance whose card is not there any more that it goes, one line each."""
    there = {device.uuid for device in found}
    return [
        f"the card of the instance {name}, {uuid}, is not there any more"
        for name, (_, uuids) in note.taken.items()
        for uuid in uuids
        if uuid not in there
    ]


def _uuids(slot: Slot) -> list[str]:
    return [device.uuid for device in slot.devices if device.uuid]


def slots_of(
    spec: HostSpec, found: Sequence[Device], device_error: str | None, note: Note
) -> tuple[Slot, ...]:
    """Return the instances of a host that asks for several, with the devices that were found there.

    Raises:
        PlanError: a device is not there, or cannot be told from the others.
    """
    if device_error:
        raise PlanError(f"the GPUs cannot be read: {device_error}")
    planned_devices(spec, found, None)
    asked = _asked(spec, found, note)
    cards = _Cards(spec, found, note)
    # Those who say which cards they have come before those for whom one of a kind will do.
    by_uuid_first = sorted(asked, key=lambda one: not any(map(is_uuid, one.devices)))
    taken = {one.name: cards.of(one) for one in by_uuid_first}
    for device in (device for devices in taken.values() for device in devices):
        if device.uuid is None:
            raise _untold(device)
    return tuple(_slot(spec, one, taken[one.name]) for one in asked)


def declared_slots(spec: HostSpec) -> tuple[Slot, ...] | None:
    """Return the servers of a host as fleet.yaml declares them; None where only the host knows its GPUs.

    A host with one server has one without a name, with all of the devices.
    """
    declared = declared_devices(spec)
    asked = spec.instances
    if asked is None:
        return None if declared is None else (Slot("", spec.listen.port, declared, spec),)
    if asked == PER_GPU:
        if declared is None:
            return None
        return tuple(
            _slot(spec, one, [device])
            for one, device in zip(_per_declared(spec, declared), declared, strict=True)
        )
    if any(is_uuid(device) for one in asked for device in one.devices):
        return None
    return tuple(
        _slot(spec, one, [Device.declared(kind, index) for index, kind in enumerate(one.devices)])
        for one in asked
    )


def _slot(spec: HostSpec, one: InstanceSpec, devices: Sequence[Device]) -> Slot:
    return Slot(one.name, one.port, tuple(devices), one.of(spec))


def _asked(spec: HostSpec, found: Sequence[Device], note: Note) -> tuple[InstanceSpec, ...]:
    if isinstance(spec.instances, tuple):
        return spec.instances
    declared = declared_devices(spec)
    if declared is not None:
        return tuple(_per_declared(spec, declared))
    if not found:
        raise PlanError(f"{spec.origin.get('instances')}: instances: per-gpu, but no GPU was found")
    return tuple(_per_found(spec, found, note))


def _per_declared(spec: HostSpec, declared: Sequence[Device]) -> Iterator[InstanceSpec]:
    names: set[str] = set()
    for place, device in enumerate(declared):
        name = _free_name(device.kind or UNLISTED, names)
        names.add(name)
        yield _instance(spec, name, spec.listen.port + place, device.kind or "")


def _per_found(spec: HostSpec, found: Sequence[Device], note: Note) -> Iterator[InstanceSpec]:
    """One for each card that was found: those that are known keep name and port, the others get what is free."""
    first = spec.listen.port
    moved = 0 if note.first is None else first - note.first
    known = {uuid: (name, port + moved) for name, (port, uuids) in note.taken.items() for uuid in uuids[:1]}
    kept = {
        device.uuid: known[device.uuid]
        for device in found
        if device.uuid in known and _fits_name(known[device.uuid][0], device)
    }
    names, ports = {name for name, _ in kept.values()}, {port for _, port in kept.values()}
    made = []
    for device in found:
        if device.uuid is None or not is_uuid(device.uuid):
            raise _untold(device)
        if device.uuid in kept:
            name, port = kept[device.uuid]
        else:
            name = _free_name(device.kind or UNLISTED, names)
            port = next(port for port in range(first, first + len(found) + len(ports)) if port not in ports)
            names.add(name)
            ports.add(port)
        made.append(_instance(spec, name, port, device.uuid))
    if made and (last := max(one.port for one in made)) > 65535:
        raise PlanError(f"an instance would listen on port {last}; write a lower port into listen")
    yield from sorted(made, key=lambda one: one.port)


def _instance(spec: HostSpec, name: str, port: int, device: str) -> InstanceSpec:
    return InstanceSpec(name, (device,), port, tuple(request.name for request in spec.models))


def _untold(device: Device) -> PlanError:
    return PlanError(
        f"{device.name} (index {device.index}) tells no UUID, so no instance can be bound to it; write instances: 1"
    )


def _fits_name(name: str, device: Device) -> bool:
    """Whether a name is one that the card would get; its kind may have come into the catalogue since."""
    stem = device.kind or UNLISTED
    return name == stem or (name.startswith(f"{stem}-") and name[len(stem) + 1 :].isdecimal())


def _free_name(stem: str, taken: set[str]) -> str:
    number = 1
    while (name := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return name


class _Cards:
    """The cards that were found, each given away once."""

    def __init__(self, spec: HostSpec, found: Sequence[Device], note: Note) -> None:
        self.spec = spec
        self.note = note
        self.free = list(found)
        self.found = tuple(found)
        # A card that the note has for an instance is not given to another as long as there is another.
        self.noted = {uuid: name for name, (_, uuids) in note.taken.items() for uuid in uuids}

    def of(self, one: InstanceSpec) -> list[Device]:
        taken = []
        for device in one.devices:
            card = self._named(one, device) if is_uuid(device) else self._of_kind(one, device)
            self.free.remove(card)
            # What was declared is planned for: some kinds share name and size.
            taken.append(card if is_uuid(device) else replace(card, kind=device))
        return taken

    def _named(self, one: InstanceSpec, uuid: str) -> Device:
        for card in self.free:
            if card.uuid is not None and card.uuid.casefold() == uuid.casefold():
                return card
        there = ", ".join(f"{card.uuid} ({card.kind or card.name})" for card in self.found) or "no GPU"
        raise PlanError(
            f"{self.spec.origin.get('instances')}: the instance {one.name} has {uuid}, which is not there; "
            f"there {'is' if len(self.found) < 2 else 'are'} {there}"
        )

    def _of_kind(self, one: InstanceSpec, kind: str) -> Device:
        fitting = [card for card in self.free if _is(card, kind)]
        if not fitting:
            there = ", ".join(card.kind or card.name for card in self.found) or "no GPU"
            raise PlanError(
                f"{self.spec.origin.get('instances')}: the instance {one.name} has a {kind}, and none is left; "
                f"found: {there}"
            )
        rank = {one.name: 0, None: 1}
        return min(fitting, key=lambda card: rank.get(self.noted.get(card.uuid or ""), 2))


def _is(card: Device, kind: str) -> bool:
    if card.kind == kind:
        return True
    return any(gpu.key == kind for gpu in candidates(card.name, card.memory_total >> 20))
