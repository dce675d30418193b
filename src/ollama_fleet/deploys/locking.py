"""What a fleet needs locked, and resolving it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ollama_fleet.artifacts.http_source import HttpOptions
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.locking import resolve_file, resolve_model, resolve_release
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.names import CPU, is_file_base

UPSTREAM = "upstream"
ARCHITECTURES = ("amd64", "arm64")


@dataclass(slots=True)
class Needs:
    """Everything whose digests a fleet's hosts may ask for."""

    releases: dict[str, dict[str, None]] = field(default_factory=dict)
    """Version to archives (`linux-amd64` …), in the order of the file."""
    sources: dict[str, str] = field(default_factory=dict)
    """Version to where its archives are."""
    bases: dict[str, None] = field(default_factory=dict)
    """Model names and GGUF paths as written."""


def needs_of(fleet: Fleet) -> Needs:
    """Collect what the hosts of a fleet may need, also on devices that only the host itself knows."""
    needs = Needs()
    for host in fleet.hosts:
        version = str(host.release.version)
        archives = needs.releases.setdefault(version, {})
        archives.update(dict.fromkeys(_archives(host)))
        needs.sources.setdefault(version, host.release.source)
        for request in host.models:
            for kinds in _possible_devices(host, request.kinds):
                needs.bases[request.for_devices(kinds).base] = None
    return needs


def _archives(host: HostSpec) -> Iterator[str]:
    has_amd = host.gpus != "auto" and any(
        catalogue()[kind].vendor == "amd" for kind in host.gpus if kind in catalogue()
    )
    for architecture in (host.arch,) if host.arch else ARCHITECTURES:
        yield f"linux-{architecture}"
        if has_amd and architecture == "amd64":
            yield f"linux-{architecture}-rocm"


def _possible_devices(host: HostSpec, kinds: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if host.gpus != "auto":
        yield host.gpus
        return
    yield ()
    for kind in kinds:
        yield () if kind == CPU else (kind,)


def make_lock(fleet: Fleet, *, told: Callable[[str], None] = lambda _: None) -> Lock:
    """Resolve everything that a fleet needs.

    Args:
        fleet: whose hosts and models.
        told: is given a line for each thing resolved.

    Raises:
        LockingError: something cannot be resolved; one line.
        SpecErrors: a model does not work out on some device.
    """
    needs = needs_of(fleet)
    lock = Lock()
    for version, archives in needs.releases.items():
        source = needs.sources[version]
        told(f"release {version}: {', '.join(archives)}")
        lock = lock.with_release(
            version, resolve_release(version, list(archives), source=None if source == UPSTREAM else source)
        )
    for base in needs.bases:
        told(f"model {base}")
        if is_file_base(base):
            lock = lock.with_file(base, resolve_file(fleet.folder / base))
        else:
            name = ModelName.parse(base)
            registry = fleet.registries.get(name.host.casefold())
            options = HttpOptions(insecure=registry is not None and registry.insecure)
            lock = lock.with_model(name, resolve_model(name, options))
    return lock
