"""Which things on a host nobody declares any more, and what removing them would free."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.planner.items.model import WantedBase
from ollama_fleet.planner.items.prune import Pruned, PrunedFile, PrunedModel, PrunedRelease
from ollama_fleet.planner.items.service import Manager
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.placement import Placement, import_name
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.state import HostState, StoredModel

HALF = re.compile(r".+\.(new|old)")
"""Names of directories that an installation leaves behind when it is cut off."""


def undeclared(
    placements: Sequence[Placement],
    version: str,
    lock: Lock,
    manager: Manager,
    state: HostState,
    layout: Layout,
) -> tuple[Pruned, ...]:
    """Return what `prune: true` removes from a host in this state: models, then releases, then files.

    Args:
        placements: what is declared for the host, decided.
        version: the release that it is to have.
        lock: names the imports of GGUF files.
        manager: who is to keep the server running.
        state: what the probe read.
        layout: where things lie there.
    """
    asked = declared(placements, lock)
    needed = frozenset(
        digest
        for placement in placements
        if isinstance(placement.base, WantedBase)
        for digest in placement.base.content
    )
    return (
        *_models(asked, needed, state),
        *_releases(version, state),
        *_files(manager, state, layout),
    )


def declared(placements: Sequence[Placement], lock: Lock) -> frozenset[ModelName]:
    """Names that must stay: what is created, its base, and every other base that the planner may choose again."""
    names = {name for placement in placements for name in (placement.base.model, placement.created.model)}
    for candidate in (one for placement in placements for one in placement.resolved.candidates):
        if not candidate.is_file:
            names.add(ModelName.parse(candidate.base))
        elif candidate.base in lock.files:
            names.add(import_name(candidate.base, lock.file(candidate.base).sha256))
    return frozenset(names)


def left_words(found: Sequence[Pruned]) -> str | None:
    """One line that names them with their sizes, where they are only reported; None where there is nothing."""
    if not found:
        return None
    names = ", ".join(f"{item.name} ({size_words(item.size)})" if item.size else item.name for item in found)
    total = size_words(sum(item.frees for item in found))
    return f"not in fleet.yaml, and left: {names}; `prune: true` removes them and frees {total}"


def _models(asked: Collection[ModelName], needed: frozenset[str], state: HostState) -> Iterator[PrunedModel]:
    read = [(stored, _manifest(stored)) for stored in state.store.models]
    going = sorted(
        (
            (stored.name, manifest)
            for stored, manifest in read
            if manifest is not None and stored.name not in asked and _is_plain(stored.name)
        ),
        key=lambda pair: (pair[0], pair[0].full),
    )
    gone = {name.full for name, _ in going}
    kept = set(needed)
    for stored, manifest in read:
        if manifest is not None and stored.name.full not in gone:
            kept.update(manifest.blobs)
    sizes = state.store.blob_sizes
    for name, manifest in going:
        mine = {digest: sizes.get(digest, 0) for digest in manifest.blobs}
        yield PrunedModel(
            name,
            size=sum(mine.values()),
            frees=sum(size for digest, size in mine.items() if digest not in kept),
        )
        kept.update(mine)


def _manifest(stored: StoredModel) -> Manifest | None:
    try:
        return Manifest.parse(stored.manifest)
    except ManifestError:
        return None


def _is_plain(name: ModelName) -> bool:
    """Whether a name may be said to a server; stubs of cloud models have other ones, and take no room."""
    try:
        return ModelName.parse(name.short) == name
    except ModelNameError:
        return False


def _releases(version: str, state: HostState) -> Iterator[PrunedRelease]:
    there = state.release
    replaced = there.current is not None and there.current != version and there.current in there.versions
    keep = {version, there.current, there.current if replaced else there.previous}
    for name, installed in sorted(there.versions.items()):
        if name not in keep and (installed.stamp or HALF.fullmatch(name)):
            yield PrunedRelease(name, installed.size)


def _files(manager: Manager, state: HostState, layout: Layout) -> Iterator[PrunedFile]:
    mark = f"Written by {MARK}"
    for path, text in sorted(state.service.foreign_drop_ins.items()):
        if mark in text[:200]:
            yield PrunedFile(path)
    there = state.files.get(layout.supervisor)
    if manager != "supervisor" and there is not None and mark.encode() in (there.content or b"")[:200]:
        yield PrunedFile(layout.supervisor)
