"""Directories with an owner, reachable by the account that works in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.state import HostState

SEARCH = 0o001


@dataclass(frozen=True, slots=True)
class WantedDirectory:
    """A directory; every directory above it must let `owner` pass."""

    path: str
    owner: str
    group: str
    mode: int = 0o755
    kind: str = "directory"

    @property
    def name(self) -> str:
        """Its path."""
        return self.path

    def closed_parents(self, state: HostState) -> list[str]:
        """Existing directories above that `owner` may not pass through, outermost first."""
        account = state.accounts.get(self.owner)
        groups = {self.group} if account is None else account.groups | {account.group}
        closed = []
        for parent in reversed(PurePosixPath(self.path).parents):
            there = state.files.get(str(parent))
            if there is None or there.kind != "directory" or self.owner == "root":
                continue
            if there.owner == self.owner:
                search = there.mode & (SEARCH << 6)
            elif there.group in groups:
                search = there.mode & (SEARCH << 3)
            else:
                search = there.mode & SEARCH
            if not search:
                closed.append(str(parent))
        return closed

    def differences(self, state: HostState) -> list[Difference]:
        """Compare kind, owner, group and mode, and the way there."""
        found = [
            Difference(f"way through {parent}", f"open to {self.owner}", "closed")
            for parent in self.closed_parents(state)
        ]
        there = state.files.get(self.path)
        if there is None:
            return [*found, Difference("directory", "present", "absent")]
        return [
            *found,
            *compare("kind", "directory", there.kind),
            *compare("owner", f"{self.owner}:{self.group}", f"{there.owner}:{there.group}"),
            *compare("mode", f"{self.mode:04o}", f"{there.mode:04o}"),
        ]
