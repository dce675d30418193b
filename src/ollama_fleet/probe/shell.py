"""Quoting for the scripts that we send."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def word(text: str) -> str:
    """Quote one word; a path that begins with `~/` becomes one below the remote `$HOME`."""
    if text == "~":
        return '"$HOME"'
    if text.startswith("~/"):
        return '"$HOME"/' + shlex.quote(text[2:])
    return shlex.quote(text)


def words(texts: Iterable[str]) -> str:
    """Quote several words and put spaces between them."""
    return " ".join(word(text) for text in texts)
