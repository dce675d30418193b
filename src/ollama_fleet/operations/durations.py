"""Lengths of time as people read them."""

from __future__ import annotations


def duration_words(seconds: float) -> str:
    """`12 s`, `4 min 20 s`, `2 h 5 min`."""
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    hours, over = divmod(minutes, 60)
    return f"{hours} h {over} min" if hours else f"{minutes} min {rest} s"
