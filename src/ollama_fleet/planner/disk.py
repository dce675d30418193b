"""Whether what an apply fetches has room on the host's disks, told before the first byte.

A release needs its archives and, beside them, at least as much again unpacked. A model from a registry needs the
layers that are not there yet. A GGUF file needs its size; twice that where the engine rewrites what it is given. What
an earlier try has left, and the next one goes on with, counts. What is replaced stays until the new is in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.releases import EngineEra, Version
from ollama_fleet.planner.items.model import WantedBase, WantedImport
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.sizes import large_size_words
from ollama_fleet.planner.state import HostState

NAMED = 3
"""Of what needs room the largest are named."""


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Room for one thing; `size` in bytes."""

    what: str
    place: str
    size: int


def disk_needs(
    release: WantedRelease,
    bases: Iterable[WantedBase | WantedImport],
    lock: Lock,
    state: HostState,
    layout: Layout,
) -> Iterator[DiskNeed]:
    """Yield what an apply of this plan would put onto the host's disks."""
    if not release.adopted(state) and not release.is_unpacked(state):
        for archive in release.archives:
            if archive.size is not None:
                there = state.release.downloads.get(f"{archive.sha256[:16]}-{archive.name}", 0)
                needed = max(archive.size - there, 0) + archive.size
                yield DiskNeed(f"release {release.version}", layout.releases, needed)
    counted: set[str] = set()
    for base in bases:
        if base.differences(state):
            if isinstance(base, WantedImport):
                needed = _of_file(base, release.version, state)
            else:
                blobs = lock.model(base.model).manifest().blobs
                needed = sum(_missing(blob, blobs[blob], state) for blob in blobs.keys() - counted)
                counted |= blobs.keys()
            yield DiskNeed(f"{base.kind} {base.name}", layout.models, needed)


def shortage(needs: Iterable[DiskNeed], state: HostState) -> str | None:
    """The line that says what has no room, or None. A disk that nobody could read is taken to be large enough."""
    by_disk: dict[str, list[DiskNeed]] = {}
    for need in needs:
        if need.size and (disk := state.disks.get(need.place)) is not None:
            by_disk.setdefault(disk.number, []).append(need)
    for found in by_disk.values():
        free = state.disks[found[0].place].free
        if (total := sum(need.size for need in found)) > free:
            return _told(found, total, free)
    return None


def _of_file(base: WantedImport, version: str, state: HostState) -> int:
    upload = _missing(f"sha256:{base.sha256}", base.size, state)
    rewritten = Version.parse(version).era is EngineEra.LLAMA_SERVER
    return upload + (base.size if rewritten else 0)


def _missing(digest: str, size: int, state: HostState) -> int:
    if state.store.blob_sizes.get(digest) == size:
        return 0
    return max(size - state.store.partial_sizes.get(digest, 0), 0)


def _told(needs: list[DiskNeed], total: int, free: int) -> str:
    largest = sorted(needs, key=lambda need: need.size, reverse=True)
    named = [f"{need.what} {large_size_words(need.size)}" for need in largest[:NAMED]]
    more = f" and {len(needs) - NAMED} more" if len(needs) > NAMED else ""
    places = " and ".join(dict.fromkeys(need.place for need in needs))
    return (
        f"the disk of {places} has {large_size_words(free)} free, and {large_size_words(total)} are needed: "
        f"{', '.join(named)}{more}; nothing was fetched. Make room, or set models_dir to a larger disk"
    )
