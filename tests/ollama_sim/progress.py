"""The lines in which a pull or a create tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

from ollama_sim import gojson

Progress = Callable[[gojson.Struct], None]


def status(text: str) -> gojson.Struct:
    """A line of progress that is only words."""
    return gojson.Struct(status=text)


def layer_status(digest: str, total: int, completed: int) -> gojson.Struct:
    """A line of progress about one blob; sizes in bytes."""
    line = gojson.Struct(status=f"pulling {digest[7:19]}", digest=digest, total=total, completed=completed)
    return line.without_empty("total", "completed")


def human_bytes(size: int) -> str:
    """Bytes in powers of ten, as `ollama list` shows them."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= unit:
            value = size / unit
            if value >= 10 or value == int(value):
                return f"{int(value)} {name}"
            return f"{value:.1f} {name}"
    return f"{size} B"
