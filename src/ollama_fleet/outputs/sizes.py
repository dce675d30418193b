"""Sizes as people read them."""

from __future__ import annotations

GIB = 2**30


def gib(size: int) -> str:
    """Bytes as GiB with one decimal: `19.2 GiB`."""
    return f"{size / GIB:.1f} GiB"


def hosts_words(count: int) -> str:
    """`1 host`, `12 hosts`."""
    return f"{count} host" if count == 1 else f"{count} hosts"
