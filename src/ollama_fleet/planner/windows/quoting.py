"""Values in scripts for PowerShell."""

from __future__ import annotations

from collections.abc import Iterable

QUOTES = "'‘’‚‛"
"""PowerShell takes all of these for a single quote."""


def literal(text: str) -> str:
    """Quote one value: nothing inside single quotes means anything, but the quotes themselves.

    Raises:
        ValueError: the value holds a NUL or half a character, which no Windows string carries.
    """
    if "\0" in text:
        raise ValueError("a value for Windows cannot hold a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a value for Windows cannot hold half a character") from None
    return "'" + "".join(letter * 2 if letter in QUOTES else letter for letter in text) + "'"


def array(texts: Iterable[str]) -> str:
    """Quote several values as an array."""
    return f"@({', '.join(literal(text) for text in texts)})"
