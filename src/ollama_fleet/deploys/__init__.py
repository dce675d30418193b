"""In which order a host converges: `deploy.py` and `inventory/hosts.py` are three lines each.

from ollama_fleet.deploys import converge
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ollama_fleet.deploys.converging import converge
    from ollama_fleet.deploys.host_entries import inventory

__all__ = ["converge", "inventory"]

_PLACES = {"converge": "converging", "inventory": "host_entries"}
"""Taken only when asked for: pyinfra costs a second, and what reads fleet.yaml alone does without it."""


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
