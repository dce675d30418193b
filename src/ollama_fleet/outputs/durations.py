"""How long a download takes, in words."""

from __future__ import annotations

LINE = 1_000_000_000 / 8
"""Bytes per second of the line that is assumed: 1 Gbit/s, and said so wherever it is used."""
LINE_WORDS = "at 1 Gbit/s"


def download_words(size: int) -> str:
    """The least time that so many bytes take: `25 s`, `3 min`, `1.2 h`."""
    seconds = size / LINE
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
