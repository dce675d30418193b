"""What a word of YAML means that stands without quotes."""

from __future__ import annotations

import math
import re

from ollama_fleet.spec.errors import show

Plain = None | bool | int | float | str

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_BOOLEAN_ELSEWHERE = frozenset({"yes", "Yes", "YES", "on", "On", "ON", "no", "No", "NO", "off", "Off", "OFF"})
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL_ELSEWHERE = re.compile(r"[-+]?0[0-9]+")
_LONGEST_NUMBER = 40


def read_plain(text: str) -> tuple[Plain, tuple[str, str] | None]:
    """The value of an unquoted scalar, and (message, hint) where it cannot be told for sure."""
    if text in _NULL:
        return None, None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE, None
    if (doubt := _doubt(text)) is not None:
        return text, doubt
    if _INT.fullmatch(text):
        return int(text), None
    return (float(text) if _FLOAT.fullmatch(text) else text), None


def _doubt(text: str) -> tuple[str, str] | None:
    quotes = "put it in quotes if it is text"
    if text in _BOOLEAN_ELSEWHERE:
        truth = "true" if text.lower() in {"yes", "on"} else "false"
        message = f"{show(text)} is a boolean to some YAML readers and a word to others"
        return message, f'write {truth}, or "{text}" in quotes if the word is meant'
    if _OCTAL_ELSEWHERE.fullmatch(text):
        return f"{show(text)} is an octal number to some YAML readers", f"drop the leading zero, or {quotes}"
    if _FLOAT.fullmatch(text) and (len(text) > _LONGEST_NUMBER or math.isinf(float(text))):
        return f"{show(text)} is too large for a number", quotes
    return None
