"""What a fleet needs locked, and resolving it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ollama_fleet.artifacts.gguf import GgufError, read_facts
from ollama_fleet.artifacts.http_source import HttpOptions
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_entries import ReleaseLock
from ollama_fleet.artifacts.locking import LockingError, resolve_file, resolve_model, resolve_release
from ollama_fleet.artifacts.measured import FILE as MEASURED_FILE
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.decision import facts_of, may_be_chosen
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU, is_file_base

UPSTREAM = "upstream"
ARCHITECTURES = ("amd64", "arm64")
ROCM = "-rocm"


@dataclass(slots=True)
class Needs:
    """Everything whose digests a fleet's hosts may ask for."""

    releases: dict[str, dict[str, None]] = field(default_factory=dict)
    """Version to archives (`linux-amd64` …), in the order of the file."""
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
    for host in fleet.hosts:
        version = str(host.release.version)
        needs.releases.setdefault(version, {}).update(dict.fromkeys(_archives(host)))
        source = needs.sources.setdefault(version, host.release.source)
        if source != host.release.source:
            raise LockingError(
                f"release {version} comes from {source} and, for {host.name}, from {host.release.source}; "
                "one version is one set of archives: give both one source"
            )
        devices = declared_devices(host)
        if devices is None:
            bases = _possible_bases(host)
        else:
            bases = _unread(host, devices, lock) or [
                decided.decision.candidate.base for decided in host_decisions(host, devices, lock)
            ]
        needs.bases.update(dict.fromkeys(bases))
    return needs


def _archives(host: HostSpec) -> Iterator[str]:
    gpus = catalogue()
    may_have_amd = host.gpus == "auto" or any(
        gpus[kind].vendor == "amd" for kind in host.gpus if kind in gpus
    )
    for architecture in (host.arch,) if host.arch else ARCHITECTURES:
        yield f"linux-{architecture}"
        if may_have_amd and architecture == "amd64":
            yield f"linux-{architecture}{ROCM}"


def _unread(host: HostSpec, devices: Sequence[Device], lock: Lock) -> list[str]:
    """Bases that something is to be chosen of and that neither the catalogue nor the lock knows."""
    kinds = [device.kind for device in devices if device.kind is not None]
    resolved = [request.for_devices(kinds) for request in host.models]
    return [
        candidate.base
        for model in resolved
        if model.left_open
        for candidate in model.candidates
        if facts_of(candidate, lock) is None and not _is_locked(candidate.base, lock)
    ]


def _possible_bases(host: HostSpec) -> list[str]:
    """What a host may need whose GPUs nobody has declared."""
    return [
        candidate.base
        for request in host.models
        for kinds in ((), *((kind,) for kind in request.kinds if kind != CPU))
        for candidate in may_be_chosen(request.for_devices(kinds))
    ]


def make_lock(fleet: Fleet, *, told: Callable[[str], None] = lambda _: None) -> Lock:
    """Resolve everything that a fleet needs.

    Args:
        fleet: whose hosts and models.
        told: is given a line for each thing resolved.

    Raises:
        LockingError: something cannot be resolved; one line.
        PlanError, SpecErrors: a model does not work out on some device.
    """
    # What was measured decides too, and what is decided must be locked.
    lock = Lock().with_measured(Measurements.load(fleet.folder / MEASURED_FILE))
    needs = needs_of(fleet, lock)
    for version, archives in needs.releases.items():
        told(f"release {version}: {', '.join(archives)}")
        lock = lock.with_release(version, _release(version, list(archives), needs.sources[version]))
    # What is read of a model may change what is decided, and so what is needed: go on until nothing is missing.
    while missing := [base for base in needs.bases if not _is_locked(base, lock)]:
        for base in missing:
            told(f"model {base}")
            lock = _with_base(lock, fleet, base)
        needs = needs_of(fleet, lock)
    return lock


def _release(version: str, archives: list[str], source: str) -> ReleaseLock:
    """Resolve archives; those for GPUs that a host may turn out to have are left out where there are none."""
    where = None if source == UPSTREAM else source
    try:
        return resolve_release(version, archives, source=where)
    except LockingError:
        plain = [archive for archive in archives if not archive.endswith(ROCM)]
        if plain == archives:
            raise
        return resolve_release(version, plain, source=where)


def _is_locked(base: str, lock: Lock) -> bool:
    if is_file_base(base):
        return base in lock.files
    return lock.find_model(ModelName.parse(base)) is not None


def _with_base(lock: Lock, fleet: Fleet, base: str) -> Lock:
    try:
        if is_file_base(base):
            path = fleet.folder / Path(base).expanduser()
            return lock.with_file(base, resolve_file(path, read_facts))
        name = ModelName.parse(base)
        registry = fleet.registries.get(name.host.casefold())
        options = HttpOptions(insecure=registry is not None and registry.insecure)
        return lock.with_model(name, resolve_model(name, options, read_facts))
    except GgufError as error:
        raise LockingError(f"model {base}: {error}") from None
