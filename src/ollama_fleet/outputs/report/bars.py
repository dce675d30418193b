"""A GPU's memory as a bar: where each part begins, and how wide it is."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.memory.estimate import DeviceMemory

WIDTH = 1000.0
"""Units of a whole bar; the page stretches it."""
TERMS = {
    "weights": "weights",
    "kv": "KV cache",
    "compute": "compute",
    "projector": "projector",
    "draft": "draft model",
    "reserve": "reserve",
}
"""What a GPU's memory is planned for, in the order of the bar, and the word for people."""
ALWAYS = {"weights", "kv", "compute", "reserve"}
"""Terms that are told even where they are 0."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar: bytes, and its place in units of the bar."""

    term: str
    label: str
    size: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One GPU under one model; bytes. `limit` is where its memory ends in the bar, None where nothing sticks out."""

    gpu: str
    parts: tuple[Part, ...]
    total: int
    free: int
    lacks: int
    limit: float | None


def bar_of(device: DeviceMemory) -> Bar:
    """The bar of a GPU: as long as its free memory, or as what is planned where that is more."""
    whole = max(device.free, device.total, 1)
    sizes = [(term, int(getattr(device, term))) for term in TERMS]
    sizes = [(term, size) for term, size in sizes if size or term in ALWAYS]
    parts, start = [], 0.0
    for term, size in [*sizes, ("free", max(device.free - device.total, 0))]:
        width = WIDTH * size / whole
        parts.append(Part(term, TERMS.get(term, "free"), size, round(start, 2), round(width, 2)))
        start += width
    return Bar(
        gpu=device.name,
        parts=tuple(parts),
        total=device.total,
        free=device.free,
        lacks=device.lacks,
        limit=round(WIDTH * device.free / whole, 2) if device.lacks else None,
    )
