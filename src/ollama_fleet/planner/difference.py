"""The one comparison from which dry run, apply and drift all follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect of an item in which the host is not as wanted."""

    aspect: str
    wanted: str
    actual: str

    def __str__(self) -> str:
        return f"{self.aspect}: {self.actual} → {self.wanted}"


class Item(Protocol):
    """Something that a host should have: wanted as data, compared with a state."""

    @property
    def kind(self) -> str:
        """Field's word for it: `directory`, `service`, `model` …"""
        ...

    @property
    def name(self) -> str:
        """Unique within its kind and host."""
        ...

    def differences(self, state: HostState) -> Sequence[Difference]:
        """What would have to change on a host in this state; empty where nothing would."""
        ...


def compare(aspect: str, wanted: object, actual: object) -> list[Difference]:
    """Return one difference if the two values differ, else none."""
    if wanted == actual:
        return []
    return [Difference(aspect, _words(wanted), _words(actual))]


def _words(value: object) -> str:
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
