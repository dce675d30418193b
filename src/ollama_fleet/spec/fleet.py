"""A fleet file, read, checked and merged: what was asked for, host by host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ollama_fleet.spec.crosscheck import check_host, check_hosts, check_models, check_references
from ollama_fleet.spec.errors import SpecError, SpecErrors, did_you_mean, show
from ollama_fleet.spec.hosts import Hosts, HostSpec, build_host
from ollama_fleet.spec.merge import Merged
from ollama_fleet.spec.published import NOTHING_PUBLISHED, Published
from ollama_fleet.spec.reading import Reading, read
from ollama_fleet.spec.yaml_source import Data, Document, load_document, parse_document


@dataclass(frozen=True, slots=True)
class RegistrySpec:
    """How a model registry is reached; ``insecure`` is plain HTTP."""

    insecure: bool = False


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """How many hosts change at once (``None``: all), and how many may fail before the rest is left alone."""

    batch: int | None = None
    max_failures: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """All that a fleet file describes; hosts and groups in the order of the file.

    ``folder`` is what relative paths of the file are relative to. ``prune`` is ``"report"``, ``True`` or ``False``.
    """

    file: str
    folder: Path
    hosts: tuple[HostSpec, ...]
    groups: Mapping[str, tuple[str, ...]]
    models: tuple[str, ...]
    registries: Mapping[str, RegistrySpec]
    prune: bool | str
    document: Document = field(repr=False, compare=False)
    rollout: RolloutSpec = RolloutSpec()

    @classmethod
    def load(
        cls,
        path: str | Path,
        gpu_names: Collection[str] | None = None,
        published: Published = NOTHING_PUBLISHED,
    ) -> Fleet:
        """Read a fleet file.

        ``gpu_names`` is the catalogue that names of GPUs are checked with; without it any name will do.
        Raises SpecErrors with all that is wrong.
        """
        return _fleet(load_document(Path(path)), Path(path).absolute().parent, gpu_names, published)

    @classmethod
    def parse(
        cls,
        text: str | bytes,
        gpu_names: Collection[str] | None = None,
        *,
        file: str = "fleet.yaml",
        folder: str | Path = ".",
        published: Published = NOTHING_PUBLISHED,
    ) -> Fleet:
        """The fleet out of a text, as ``load``; ``file`` is what messages call it."""
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return _fleet(parse_document(content, file), Path(folder).absolute(), gpu_names, published)

    def host(self, name: str) -> HostSpec:
        """One host; raises KeyError where the fleet has none of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def select(self, names: Sequence[str]) -> tuple[HostSpec, ...]:
        """The hosts that these names of hosts and groups mean, in file order; all of them for no name.

        Raises SpecErrors with each name that means nothing.
        """
        if not names:
            return self.hosts
        known = {host.name for host in self.hosts}
        unknown = [name for name in names if name not in known and name not in self.groups]
        if unknown:
            candidates = [*known, *self.groups]
            raise SpecErrors(
                SpecError(
                    "", f"{show(name)} is no host or group", did_you_mean(name, candidates), None, self.file
                )
                for name in unknown
            )
        wanted = {host for name in names for host in self.groups.get(name, ())} | (set(names) & known)
        return tuple(host for host in self.hosts if host.name in wanted)


def load_fleet(path: str | Path, *, gpu_names: Collection[str] | None = None) -> Fleet:
    """``Fleet.load`` as a function."""
    return Fleet.load(path, gpu_names)


def _fleet(
    document: Document, folder: Path, gpu_names: Collection[str] | None, published: Published
) -> Fleet:
    reading = read(document, published)
    check_references(reading, gpu_names)
    check_models(reading)
    hosts = Hosts(reading)
    merged = _merged_hosts(hosts)
    for name, settings in merged.items():
        check_host(hosts, name, settings, gpu_names)
    check_hosts(reading, merged)
    if reading.errors:
        raise SpecErrors(reading.errors)
    return Fleet(
        file=document.file,
        folder=folder,
        hosts=tuple(build_host(hosts, name, settings, str(folder)) for name, settings in merged.items()),
        groups=MappingProxyType({name: group.hosts for name, group in reading.groups.items()}),
        models=tuple(reading.models),
        registries=MappingProxyType(
            {
                name.casefold(): RegistrySpec(registry.insecure or False)
                for name, registry in reading.registries.items()
            }
        ),
        prune=reading.prune,
        document=document,
        rollout=_rollout(reading),
    )


def _rollout(reading: Reading) -> RolloutSpec:
    written = reading.rollout
    if written is None:
        return RolloutSpec()
    return RolloutSpec(batch=written.batch or 1, max_failures=written.max_failures or 0)


def _merged_hosts(hosts: Hosts) -> dict[str, Merged]:
    """The hosts all of whose layers could be read, merged."""
    reading = hosts.reading
    if reading.defaults is None or (reading.release is None and reading.broken("release")):
        return {}
    in_doubt: set[Data] = set()
    for name, group in reading.written("groups").items():
        if name not in reading.groups:
            named = group.get("hosts") if isinstance(group, dict) else None
            if not isinstance(named, list):
                return {}  # which hosts the group has cannot be told, so none is known to be without it
            in_doubt.update(host for host in named if isinstance(host, str))
    return {name: hosts.merged(name) for name in reading.hosts if name not in in_doubt}
