"""A release on Windows: a directory per version, and a note that says which one is in use."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WindowsRelease(WantedRelease):
    """A version unpacked under `layout.releases` and in use; what OllamaSetup put elsewhere stays where it is."""

    def program(self, state: HostState) -> str:
        """The ollama.exe to run: ours, or the adopted one."""
        foreign = state.release.foreign
        if foreign is not None and self.adopted(state):
            return foreign.path
        return f"{self.layout.releases}\\{self.version}\\ollama.exe"

    def differences(self, state: HostState) -> list[Difference]:
        """Compare installed files and the version in use; the `ollama` command of people's shells is not ours."""
        return [] if self.adopted(state) else self.of_files(state)
