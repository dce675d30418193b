"""Whether a lock is what its fleet needs, and whether it is still what upstream serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ollama_fleet.artifacts.http_source import HttpOptions
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_changes import Kind, locked_things
from ollama_fleet.artifacts.lock_entries import ArchiveLock, FileLock, ModelLock
from ollama_fleet.artifacts.locking import (
    LockingError,
    archive_urls,
    manifest_digest,
    resolve_file,
    resolve_release,
)
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.locking import options_of, source_of, with_readable_facts
from ollama_fleet.deploys.needs import gathered, is_locked, needs_of
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.names import is_file_base

State = Literal["locked", "missing", "unneeded", "stale", "moved", "unchecked"]
STALE: frozenset[State] = frozenset({"missing", "unneeded", "stale"})
"""States of a lock that is not what `ollama-fleet lock` would leave."""
ASKING = HttpOptions(timeout=10, retries=0)
"""A check is run often, and what does not answer is only told: so nobody is waited for long."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing stands."""

    kind: Kind
    name: str
    state: State
    locked: str | None = None
    """The digest in the lock."""
    found: str | None = None
    """The digest that upstream has now, where it was asked and answered."""
    reason: str = ""


def check_lock(fleet: Fleet, lock: Lock, *, offline: bool) -> list[Finding]:
    """Hold a lock against its fleet and, unless `offline`, against registries, release servers and files.

    Raises:
        LockingError: a version has two sources.
        PlanError, SpecErrors: a model does not work out on declared GPUs.
    """
    found = {(finding.kind, finding.name): finding for finding in _against_fleet(fleet, lock)}
    for key, thing in locked_things(lock).items():
        found.setdefault(key, Finding(*key, "locked", thing.digest))
    good = {key: finding for key, finding in found.items() if finding.state == "locked"}
    if not offline:
        found |= {(f.kind, f.name): f for f in _against_upstream(fleet, lock, good)}
    return list(found.values())


def _against_fleet(fleet: Fleet, lock: Lock) -> Iterator[Finding]:
    needs = needs_of(fleet, Lock())
    needed: set[tuple[Kind, str]] = set()
    for version, archives in needs.releases.items():
        locked = lock.releases[version].archives if version in lock.releases else {}
        urls = archive_urls(version, archives, source=source_of(needs.sources[version]))
        for target, required in archives.items():
            name = f"{version} {target}"
            needed.add(("release", name))
            if target not in locked:
                if required:
                    yield Finding("release", name, "missing")
            elif locked[target].url != urls[target]:
                reason = f"locked from {locked[target].url}, fleet.yaml says {urls[target]}"
                yield Finding("release", name, "stale", f"sha256:{locked[target].sha256}", reason=reason)
    missing: list[str] = []
    used = gathered(fleet, lambda known, base: _taken(known, base, lock, missing))
    for base in missing:
        yield Finding(*_key(base), "missing")
    for key, thing in locked_things(used).items():
        needed.add(key)
        if isinstance(thing.entry, ModelLock | FileLock) and not with_readable_facts(thing.entry):
            yield Finding(*key, "stale", thing.digest, reason="its facts cannot be read by this ollama-fleet")
    for key, thing in locked_things(lock).items():
        # What a base that is missing would decide may need any of the others.
        if key not in needed and not (missing and key[0] != "release"):
            yield Finding(*key, "unneeded", thing.digest)


def _taken(known: Lock, base: str, lock: Lock, missing: list[str]) -> Lock:
    if not is_locked(base, lock):
        missing.append(base)
        return known
    if is_file_base(base):
        return known.with_file(base, lock.file(base))
    name = ModelName.parse(base)
    return known.with_model(name, lock.model(name))


def _key(base: str) -> tuple[Kind, str]:
    return ("file", base) if is_file_base(base) else ("model", ModelName.parse(base).short)


def _against_upstream(fleet: Fleet, lock: Lock, good: dict[tuple[Kind, str], Finding]) -> Iterator[Finding]:
    sources = needs_of(fleet, Lock()).sources
    for version, release in lock.releases.items():
        archives = {
            target: archive
            for target, archive in release.archives.items()
            if ("release", f"{version} {target}") in good
        }
        if archives:
            yield from _release(version, archives, sources[version])
    for kind, name in good:
        if kind == "model":
            yield _model(fleet, name, lock.models[name].digest)
        elif kind == "file":
            yield _file(fleet, name, lock.files[name])


def _release(version: str, archives: Mapping[str, ArchiveLock], source: str) -> Iterator[Finding]:
    try:
        found = resolve_release(version, archives, source=source_of(source), options=ASKING).archives
    except LockingError as error:
        if error.gone and len(archives) > 1:  # perhaps not all of them
            for target, archive in archives.items():
                yield from _release(version, {target: archive}, source)
            return
        for target, archive in archives.items():
            yield _unanswered("release", f"{version} {target}", f"sha256:{archive.sha256}", error)
        return
    for target, archive in archives.items():
        digests = f"sha256:{archive.sha256}", f"sha256:{found[target].sha256}"
        yield _compared("release", f"{version} {target}", *digests)


def _model(fleet: Fleet, name: str, digest: str) -> Finding:
    parsed = ModelName.parse(name)
    options = replace(ASKING, insecure=options_of(fleet, parsed).insecure)
    try:
        return _compared("model", name, digest, manifest_digest(parsed, options))
    except LockingError as error:
        return _unanswered("model", name, digest, error)


def _file(fleet: Fleet, path: str, locked: FileLock) -> Finding:
    digest = f"sha256:{locked.sha256}"
    try:
        found = resolve_file(fleet.folder / Path(path).expanduser())
    except LockingError as error:
        return _unanswered("file", path, digest, error)
    return _compared("file", path, digest, f"sha256:{found.sha256}")


def _compared(kind: Kind, name: str, locked: str, found: str) -> Finding:
    return Finding(kind, name, "locked" if found == locked else "moved", locked, found)


def _unanswered(kind: Kind, name: str, locked: str, error: LockingError) -> Finding:
    return Finding(kind, name, "moved" if error.gone else "unchecked", locked, reason=str(error))
