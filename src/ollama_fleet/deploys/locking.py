"""Resolving what a fleet needs; what is locked already stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ollama_fleet.artifacts.facts_json import FactsError
from ollama_fleet.artifacts.gguf import GgufError, read_facts
from ollama_fleet.artifacts.http_source import HttpOptions
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_entries import ArchiveLock, FileLock, ModelLock, ReleaseLock
from ollama_fleet.artifacts.locking import (
    LockingError,
    archive_urls,
    resolve_file,
    resolve_model,
    resolve_release,
)
from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.deploys.needs import bases_of, gathered, needs_of
from ollama_fleet.spec.errors import did_you_mean, show
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.names import is_file_base

UPSTREAM = "upstream"

Told = Callable[[str], None]


def make_lock(
    fleet: Fleet,
    kept: Lock | None = None,
    update: Sequence[str] | None = None,
    *,
    told: Told = lambda _: None,
) -> Lock:
    """Resolve everything that a fleet needs and nothing else.

    Args:
        fleet: whose hosts and models.
        kept: the lock so far; what it has stays, except for `update`.
        update: what to resolve anew: names of releases, models or bases; empty for everything.
        told: is given a line for each thing that is resolved.

    Raises:
        LockingError: something cannot be resolved, or is not any more what is locked; one line.
        PlanError, SpecErrors: a model does not work out on some device.
    """
    before = kept or Lock()
    held = before if update is None else _without(before, fleet, update)
    needs = needs_of(fleet, Lock())
    releases = {}
    for version, archives in needs.releases.items():
        locked = held.releases[version].archives if version in held.releases else {}
        found = _release(version, archives, needs.sources[version], locked, told)
        releases[version] = ReleaseLock(archives=found)
    lock = gathered(fleet, lambda lock, base: _with_base(lock, fleet, base, held, told))
    whole = Lock(releases=releases, models=lock.models, files=lock.files)
    return whole.with_measured(lock.measured)


def source_of(source: str) -> str | None:
    """A release's `source` as `resolve_release` takes it."""
    return None if source == UPSTREAM else source


def options_of(fleet: Fleet, name: ModelName) -> HttpOptions:
    """How the registry of a model is reached."""
    registry = fleet.registries.get(name.host.casefold())
    return HttpOptions(insecure=registry is not None and registry.insecure)


def with_readable_facts(entry: ModelLock | FileLock) -> bool:
    """Whether the planner can use what was read of a model when it was locked."""
    try:
        return entry.model_facts is not None
    except FactsError:
        return False


def _without(lock: Lock, fleet: Fleet, names: Sequence[str]) -> Lock:
    """The lock without what these names mean; without anything for no name."""
    if not names:
        return Lock()
    releases, models, files = dict(lock.releases), dict(lock.models), dict(lock.files)
    for name in names:
        if not _drop(name, fleet, releases, models, files):
            raise LockingError(_unknown(name, fleet, lock))
    return Lock(releases=releases, models=models, files=files)


def _drop(
    name: str,
    fleet: Fleet,
    releases: dict[str, ReleaseLock],
    models: dict[str, ModelLock],
    files: dict[str, FileLock],
) -> bool:
    versions = {str(host.release.version) for host in fleet.hosts} | releases.keys()
    if name.removeprefix("v") in versions:
        releases.pop(name.removeprefix("v"), None)
        return True
    if name in fleet.models:
        for base in bases_of(fleet, name):
            _drop_base(base, models, files)
        return True
    return _drop_base(name, models, files)


def _drop_base(base: str, models: dict[str, ModelLock], files: dict[str, FileLock]) -> bool:
    if is_file_base(base):
        return files.pop(base, None) is not None
    try:
        wanted = ModelName.parse(base)
    except ModelNameError:
        return False
    found = [key for key in models if ModelName.parse(key) == wanted]
    for key in found:
        del models[key]
    return bool(found)


def _unknown(name: str, fleet: Fleet, lock: Lock) -> str:
    known = [*fleet.models, *lock.releases, *lock.models, *lock.files]
    hint = did_you_mean(name, known)
    message = f"{show(name)} is no release, model or base that is locked"
    return f"{message}; {hint}" if hint else message


def _release(
    version: str,
    archives: Mapping[str, bool],
    source: str,
    locked: Mapping[str, ArchiveLock],
    told: Told,
) -> dict[str, ArchiveLock]:
    """The archives of a release; those for GPUs that a host may turn out to have only where there are any."""
    required = [archive for archive, needed in archives.items() if needed]
    optional = [archive for archive, needed in archives.items() if not needed]
    found = _archives(version, required, source, locked, told)
    if optional:
        try:
            found |= _archives(version, optional, source, locked, told)
        except LockingError as error:
            if not error.gone:
                told(f"release {version}: {', '.join(optional)} left out: {error}")
    return found


def _archives(
    version: str, archives: Iterable[str], source: str, locked: Mapping[str, ArchiveLock], told: Told
) -> dict[str, ArchiveLock]:
    where = source_of(source)
    urls = archive_urls(version, archives, source=where)
    found = {
        target: locked[target] for target in urls if target in locked and locked[target].url == urls[target]
    }
    missing = [target for target in urls if target not in found]
    if not missing:
        return found
    told(f"release {version}: {', '.join(missing)}")
    for target, archive in resolve_release(version, missing, source=where).archives.items():
        if target in locked and locked[target].sha256 != archive.sha256:
            raise LockingError(
                f"release {version}: {archive.url} has sha256 {archive.sha256}, locked is {locked[target].sha256}; "
                f"if the change is wanted, run `ollama-fleet lock --update {version}`"
            )
        found[target] = archive
    return found


def _with_base(lock: Lock, fleet: Fleet, base: str, held: Lock, told: Told) -> Lock:
    try:
        if is_file_base(base):
            return lock.with_file(base, _file(fleet, base, held.files.get(base), told))
        name = ModelName.parse(base)
        return lock.with_model(name, _model(fleet, name, held.find_model(name), told))
    except GgufError as error:
        raise LockingError(f"model {base}: {error}") from None


def _file(fleet: Fleet, base: str, locked: FileLock | None, told: Told) -> FileLock:
    if locked is not None and with_readable_facts(locked):
        return locked
    told(f"model {base}")
    found = resolve_file(fleet.folder / Path(base).expanduser(), read_facts)
    if locked is not None and locked.sha256 != found.sha256:
        raise _moved(base, found.sha256, locked.sha256)
    return found


def _model(fleet: Fleet, name: ModelName, locked: ModelLock | None, told: Told) -> ModelLock:
    if locked is not None and with_readable_facts(locked):
        return locked
    told(f"model {name.short}")
    found = resolve_model(name, options_of(fleet, name), read_facts)
    if locked is not None and locked.digest != found.digest:
        raise _moved(name.short, found.digest, locked.digest)
    return found


def _moved(base: str, found: str, locked: str) -> LockingError:
    return LockingError(
        f"model {base}: its digest is {found} now, locked is {locked}; "
        f"if the change is wanted, run `ollama-fleet lock --update {base}`"
    )
