"""What two locks have in common and where they differ, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_entries import Entry

Kind = Literal["release", "model", "file"]
Change = Literal["added", "updated", "removed", "kept"]


@dataclass(frozen=True, slots=True)
class Locked:
    """One thing that a lock pins."""

    digest: str
    """`sha256:…` of an archive, a manifest or a file."""
    size: int
    """Bytes."""
    entry: Entry


@dataclass(frozen=True, slots=True)
class LockChange:
    """What became of one thing from one lock to the next."""

    kind: Kind
    name: str
    """Of a release with the archive: `0.32.15 linux-amd64`."""
    change: Change
    before: Locked | None
    after: Locked | None


def locked_things(lock: Lock) -> dict[tuple[Kind, str], Locked]:
    """Everything that a lock pins, by kind and name, in the order of the file."""
    found: dict[tuple[Kind, str], Locked] = {}
    for version, release in sorted(lock.releases.items()):
        for target, archive in sorted(release.archives.items()):
            digest = f"sha256:{archive.sha256}"
            found["release", f"{version} {target}"] = Locked(digest, archive.size, archive)
    for name, model in sorted(lock.models.items()):
        found["model", name] = Locked(model.digest, model.size, model)
    for path, file in sorted(lock.files.items()):
        found["file", path] = Locked(f"sha256:{file.sha256}", file.size, file)
    return found


def lock_changes(old: Lock, new: Lock) -> Iterator[LockChange]:
    """Yield one for each thing of either lock; an entry with the same digest may still have changed, as in its URL."""
    before, after = locked_things(old), locked_things(new)
    for key in [*after, *(key for key in before if key not in after)]:
        was, now = before.get(key), after.get(key)
        change: Change
        if was is None:
            change = "added"
        elif now is None:
            change = "removed"
        else:
            change = "kept" if was.entry == now.entry else "updated"
        yield LockChange(*key, change, was, now)
