"""What is ours, or came through our server, and nobody declares any more: models, old releases, files."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.sizes import size_words
from ollama_fleet.planner.state import HostState

KIND = "prune"


@dataclass(frozen=True, slots=True)
class PrunedModel:
    """A model in the models directory that goes."""

    model: ModelName
    size: int
    """Bytes of all blobs that it consists of."""
    frees: int
    """Bytes of those that no model uses which stays; what several that go have in common counts for the first."""
    kind: str = KIND

    @property
    def name(self) -> str:
        """The name as Ollama shows it."""
        return f"model {self.model.short}"

    def differences(self, state: HostState) -> list[Difference]:
        """Look for its manifest."""
        if all(stored.name != self.model for stored in state.store.models):
            return []
        of = "" if self.frees == self.size else f" of its {size_words(self.size)}"
        return [Difference("model", "absent", f"present, {size_words(self.frees)}{of} to be freed")]


@dataclass(frozen=True, slots=True)
class PrunedRelease:
    """An unpacked version that is neither in use nor the one to go back to."""

    version: str
    """Name of its directory below the releases directory."""
    size: int
    """Bytes on disk."""
    kind: str = KIND

    @property
    def name(self) -> str:
        """Its version."""
        return f"release {self.version}"

    @property
    def frees(self) -> int:
        """Bytes that its removal gives back."""
        return self.size

    def differences(self, state: HostState) -> list[Difference]:
        """Look for its directory."""
        if self.version not in state.release.versions:
            return []
        return [Difference("release", "absent", f"present, {size_words(self.size)} to be freed")]


@dataclass(frozen=True, slots=True)
class PrunedFile:
    """A file with our mark that no plan asks for: a drop-in of before, a supervisor that systemd has replaced."""

    path: str
    kind: str = KIND
    size: int = 0
    frees: int = 0

    @property
    def name(self) -> str:
        """Its path."""
        return f"file {self.path}"

    def differences(self, state: HostState) -> list[Difference]:
        """Look for it."""
        there = self.path in state.files or self.path in state.service.foreign_drop_ins
        return [Difference("file", "absent", "present")] if there else []


Pruned = PrunedModel | PrunedRelease | PrunedFile
