"""How much of an item is to be fetched, by what is on the host already."""

from __future__ import annotations

from ollama_fleet.planner.difference import Item
from ollama_fleet.planner.items.model import WantedBase, WantedImport
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.state import HostState


def to_fetch(item: Item, state: HostState) -> int:
    """Bytes that an apply would bring to the host for an item; 0 where it is as wanted, or nothing is fetched."""
    if not item.differences(state):
        return 0
    if isinstance(item, WantedBase):
        there = sum(state.store.blob_sizes.get(digest, 0) for digest in item.content)
        return max(item.size - there, 0)
    if isinstance(item, WantedImport):
        return item.size
    if isinstance(item, WantedRelease) and not item.is_unpacked(state):
        return sum(archive.size or 0 for archive in item.archives)
    return 0
