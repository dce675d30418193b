"""The value of a PARAMETER line, typed as `ollama create` types it."""

from __future__ import annotations

import re

from ollama_fleet.artifacts.gojson import float32
from ollama_fleet.spec.errors import did_you_mean, show
from ollama_fleet.spec.parameters import IGNORED, OWNED, PARAMETERS

__all__ = ["KINDS", "ParameterValue", "parameter_value"]

ParameterValue = int | float | bool | str | list[str]

KINDS: dict[str, type] = {
    # In a fleet's file num_ctx and num_gpu are keys of their own; here they are parameters like others.
    **dict.fromkeys(OWNED, int),
    **{name: parameter.kind for name, parameter in PARAMETERS.items()},
}
"""Every parameter that Ollama takes and keeps: `int`, `float`, `bool`, or `tuple` for a list of texts."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INT64_LIMIT = 1 << 63


def parameter_value(name: str, text: str) -> int | float | bool | str:
    """The value of one PARAMETER line; for a list of texts, one item of it.

    Raises:
        ValueError: for a name that is unknown or no longer heeded, or a text of another type; one line.
    """
    if name in IGNORED:
        raise ValueError(f"parameter {name} is deprecated and ignored by Ollama; remove the line")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(
            f"{show(name)} is no parameter of Ollama; {did_you_mean(name, KINDS) or 'remove the line'}"
        )
    if kind is int:
        return _integer(name, text)
    if kind is float:
        try:
            return float32(text)
        except ValueError as error:
            raise ValueError(f"parameter {name} must be a number: {error}") from None
    if kind is bool:
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise ValueError(f"parameter {name} must be true or false, not {show(text)}")
    return text


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,400}", text):
        raise ValueError(f"parameter {name} must be a whole number, not {show(text)}")
    value = int(text)
    if not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise ValueError(f"parameter {name} does not fit in 64 bits: {show(text)}")
    return value
