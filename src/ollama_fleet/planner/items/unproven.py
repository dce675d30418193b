"""A change that broke off before the host had proven itself: its snapshot is still there."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedProof:
    """No change is under way whose outcome nobody has seen."""

    layout: Layout
    kind: str = "rollout"
    name: str = "last change"

    def differences(self, state: HostState) -> list[Difference]:
        """Look for the snapshot that is taken before a change and goes when it has passed its gate."""
        return [Difference("passed its gate", "yes", "no")] if self.layout.unproven in state.files else []
