"""The system user that runs the service."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.state import HostState

DEVICE_GROUPS = ("render", "video")
"""Groups that own the GPU device nodes; a host without GPUs may lack them."""


@dataclass(frozen=True, slots=True)
class WantedAccount:
    """A system account with a home, its own group, and membership where GPU devices need it."""

    name: str
    home: str
    kind: str = "account"

    def supplementary(self, state: HostState) -> tuple[str, ...]:
        """Device groups that exist on the host."""
        return tuple(group for group in DEVICE_GROUPS if group in state.groups)

    def differences(self, state: HostState) -> list[Difference]:
        """Compare user, group and memberships; further memberships are left alone."""
        account = state.accounts.get(self.name)
        found = compare("group", self.name, self.name if self.name in state.groups else None)
        if account is None:
            return [*found, Difference("user", self.name, "absent")]
        missing = [g for g in self.supplementary(state) if g not in account.groups | {account.group}]
        if missing:
            found.append(Difference("member of", " ".join(missing), "absent"))
        return found
