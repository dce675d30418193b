"""What a server understood of its environment, against what it was given.

The line that it writes at its start is the only place where it tells. A value that it cannot read it replaces by a
default, with a warning that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.values import parse_duration

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INFINITE_SECONDS = 9e9
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LISTS = ("OLLAMA_ORIGINS", "OLLAMA_REMOTES")
"""Shown with the server's own additions, or in another form."""


def not_understood(config: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """Return one line for each variable that the server took for something else than it was given.

    Args:
        config: as the server showed it.
        given: variables as its process has them. Those that the server does not show are not looked at.
    """
    return [
        f"{name} is not in effect: set to {value!r}, the server took it for {config[name]!r}"
        for name, value in given.items()
        if name in config and name not in _LISTS and not _same(name, value, config[name])
    ]


def _same(name: str, given: str, shown: str) -> bool:
    value = given.strip().strip("\"'").strip()
    if value == shown:
        return True
    if name == "OLLAMA_HOST":
        return shown.rpartition("://")[2].rstrip("/") == value.rpartition("://")[2].rstrip("/")
    if name in ("OLLAMA_KEEP_ALIVE", "OLLAMA_LOAD_TIMEOUT"):
        return _same_duration(name, value, shown)
    if name == "OLLAMA_DEBUG":
        # Shown as the level that it stands for.
        return (shown == "INFO") == (value in _FALSE or not value)
    if shown in ("true", "false"):
        return shown == ("false" if value in _FALSE or not value else "true")
    return value.lower() == shown.lower()


def _same_duration(name: str, value: str, shown: str) -> bool:
    try:
        wanted = parse_duration(int(value) if value.lstrip("-").isdigit() else value).seconds
    except (Wrong, ValueError):
        return False
    told = go_seconds(shown)
    if wanted < 0 or (name == "OLLAMA_LOAD_TIMEOUT" and wanted == 0):
        return told is not None and told > _INFINITE_SECONDS
    return told is not None and abs(told - wanted) < 1


def go_seconds(text: str) -> float | None:
    """Return the seconds of a duration as Go prints it, such as `24h0m0s`; None for anything else."""
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _GO_UNITS[unit] for number, unit in parts)
