"""Sizes as people read them."""

from __future__ import annotations

MIB, GIB = 1 << 20, 1 << 30
_UNITS = (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10))


def size_words(size: int) -> str:
    """Bytes in the unit that fits: `4.2 GiB`, `13.0 MiB`, `512 bytes`."""
    for unit, bytes_ in _UNITS:
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def large_size_words(size: float) -> str:
    """Bytes as `19.2 GiB` or `3.4 MiB`, also the fewest: for what grows under one's eyes, and for rates."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"
