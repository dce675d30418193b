"""The system's environment variables."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedVariable:
    """A variable of the whole system with this value, or not there: it would reach the server otherwise."""

    name: str
    value: str | None
    kind: str = "variable"

    def differences(self, state: HostState) -> list[Difference]:
        """Compare the value in the registry."""
        there = state.windows.variables if state.windows else {}
        return compare("value", self.value, there.get(self.name))
