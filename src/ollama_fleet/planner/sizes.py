"""Sizes as people read them, in the unit that fits."""

from __future__ import annotations

MIB, GIB = 1 << 20, 1 << 30


def size_words(size: float) -> str:
    """Bytes as `19.2 GiB`, or `3.4 MiB` below one GiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"
