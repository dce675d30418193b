"""How long downloads and loads take at least, in words, roughly."""

from __future__ import annotations

LINE = 1_000_000_000 / 8
"""Bytes per second of the line that is assumed: 1 Gbit/s, and said so wherever it is used."""
LINE_WORDS = "at 1 Gbit/s"
DISK = 1_000_000_000
"""Bytes per second at which a disk is assumed to be read: a SATA SSD reads half of it, NVMe some times as much."""
DISK_WORDS = "at 1 GB/s from the disk"


def download_words(size: int) -> str:
    """The least time that so many bytes take: `25 s`, `3 min`, `1.2 h`."""
    return _words(size / LINE)


def load_words(size: int) -> str:
    """The least time that loading so many bytes takes, the first time after a start: `5 s`, `3 min`."""
    return _words(size / DISK)


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
