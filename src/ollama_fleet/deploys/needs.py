"""What a fleet needs locked: releases with their archives, and bases of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.locking import LockingError
from ollama_fleet.artifacts.measured import FILE as MEASURED_FILE
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.decision import Decisions, facts_of, may_be_chosen
from ollama_fleet.planner.host_decisions import host_decisions
from ollama_fleet.planner.slots import declared_slots
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU, is_file_base

ARCHITECTURES = ("amd64", "arm64")
ROCM = "-rocm"


@dataclass(slots=True)
class Needs:
    """Everything whose digests a fleet's hosts may ask for."""

    releases: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Version to archives (`linux-amd64` …), in the order of the file; False for those of GPUs that a host may
    turn out to have, which not every source holds."""
    sources: dict[str, str] = field(default_factory=dict)
    """Version to where its archives are."""
    bases: dict[str, None] = field(default_factory=dict)
    """Model names and GGUF paths as written."""


def needs_of(fleet: Fleet, lock: Lock) -> Needs:
    """Collect what the hosts of a fleet may need.

    Of a model that leaves its quantisation open, a host with declared GPUs needs only what is decided for these,
    once everything that is to be chosen among is known; a host that alone knows its GPUs may need any.

    Args:
        fleet: whose hosts and models.
        lock: what is known of models so far.

    Raises:
        LockingError: a version has two sources.
        PlanError, SpecErrors: a model does not work out on declared GPUs.
    """
    needs = Needs()
    decisions = Decisions(lock)
    for host in fleet.hosts:
        version = str(host.release.version)
        archives = needs.releases.setdefault(version, {})
        for archive, required in _archives(host):
            archives[archive] = required or archives.get(archive, False)
        source = needs.sources.setdefault(version, host.release.source)
        if source != host.release.source:
            raise LockingError(
                f"release {version} comes from {source} and, for {host.name}, from {host.release.source}; "
                "one version is one set of archives: give both one source"
            )
        slots = declared_slots(host)
        if slots is None:
            needs.bases.update(dict.fromkeys(_possible_bases(host)))
        for slot in slots or ():
            bases = _unread(slot.spec, slot.devices, lock) or [
                decided.decision.candidate.base
                for decided in host_decisions(slot.spec, slot.devices, lock, decisions)
            ]
            needs.bases.update(dict.fromkeys(bases))
    return needs


def _archives(host: HostSpec) -> Iterator[tuple[str, bool]]:
    gpus = catalogue()
    has_amd = any(gpus[kind].vendor == "amd" for kind in host.gpus if kind in gpus)
    for architecture in (host.arch,) if host.arch else ARCHITECTURES:
        yield f"{host.os}-{architecture}", True
        if architecture == "amd64" and (has_amd or host.gpus == "auto"):
            yield f"{host.os}-{architecture}{ROCM}", has_amd


def _unread(host: HostSpec, devices: Sequence[Device], lock: Lock) -> list[str]:
    """Bases that something is to be chosen of and that neither the catalogue nor the lock knows."""
    kinds = [device.kind for device in devices if device.kind is not None]
    resolved = [request.for_devices(kinds) for request in host.models]
    return [
        candidate.base
        for model in resolved
        if model.left_open
        for candidate in model.candidates
        if facts_of(candidate, lock) is None and not is_locked(candidate.base, lock)
    ]


def _possible_bases(host: HostSpec) -> list[str]:
    """What a host may need whose GPUs nobody has declared."""
    return [
        candidate.base
        for request in host.models
        for kinds in ((), *((kind,) for kind in request.kinds if kind != CPU))
        for candidate in may_be_chosen(request.for_devices(kinds))
    ]


def gathered(fleet: Fleet, add: Callable[[Lock, str], Lock]) -> Lock:
    """Collect the bases that a fleet needs in a lock without releases.

    What is known of a base may change what is decided, and so what is needed: this goes on until nothing is missing
    that has not been asked for.

    Args:
        fleet: whose hosts and models.
        add: returns the lock with one more base, or as it was where the base cannot be had.

    Raises:
        LockingError, PlanError, SpecErrors: as `needs_of`.
    """
    # What was measured decides too, and what is decided must be locked.
    lock = Lock().with_measured(Measurements.load(fleet.folder / MEASURED_FILE))
    asked: set[str] = set()
    needs = needs_of(fleet, lock)
    while new := [base for base in needs.bases if base not in asked and not is_locked(base, lock)]:
        for base in new:
            asked.add(base)
            lock = add(lock, base)
        needs = needs_of(fleet, lock)
    return lock


def bases_of(fleet: Fleet, model: str) -> dict[str, None]:
    """Everything that a model of fleet.yaml may be made from, on any host; empty where no host has it."""
    found: dict[str, None] = {}
    for host in fleet.hosts:
        declared = [
            tuple(device.kind for device in slot.devices if device.kind is not None)
            for slot in declared_slots(host) or ()
            if slot.devices
        ]
        for request in host.models:
            if request.name == model:
                for kinds in ((), *declared, *((kind,) for kind in request.kinds if kind != CPU)):
                    found.update(dict.fromkeys(c.base for c in request.for_devices(kinds).candidates))
    return found


def is_locked(base: str, lock: Lock) -> bool:
    """Whether a lock has a base, by its name or its path."""
    if is_file_base(base):
        return base in lock.files
    return lock.find_model(ModelName.parse(base)) is not None
