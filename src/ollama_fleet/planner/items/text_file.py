"""A file whose whole content is ours: unit, drop-in, shell profile."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.state import FileState, HostState


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A regular file with exactly this content."""

    path: str
    content: bytes = field(repr=False)
    owner: str
    group: str
    mode: int = 0o644
    secret: bool = False
    """Its content is in no command, log or process list; on the host only its hash is read."""
    kind: str = "file"

    @property
    def name(self) -> str:
        """Its path."""
        return self.path

    def differences(self, state: HostState) -> list[Difference]:
        """Compare kind, content, owner, group and mode."""
        there = state.files.get(self.path)
        if there is None:
            return [Difference("file", "present", "absent")]
        return [
            *compare("kind", "file", there.kind),
            *compare("content", "as rendered", "as rendered" if self._is_same(there) else "altered"),
            *compare("owner", f"{self.owner}:{self.group}", f"{there.owner}:{there.group}"),
            *compare("mode", f"{self.mode:04o}", f"{there.mode:04o}"),
        ]

    def _is_same(self, there: FileState) -> bool:
        if self.secret:
            return there.sha256 == hashlib.sha256(self.content).hexdigest()
        return there.content == self.content


@dataclass(frozen=True, slots=True)
class WantedLine:
    """One line of ours at the end of somebody else's file, e.g. in `~/.profile`."""

    path: str
    line: str
    kind: str = "line"

    @property
    def name(self) -> str:
        """The path of the file that holds it."""
        return self.path

    def differences(self, state: HostState) -> list[Difference]:
        """Look for the exact line."""
        there = state.files.get(self.path)
        lines = (there.content or b"").decode(errors="replace").splitlines() if there else []
        return [] if self.line in lines else [Difference("line", "present", "absent")]
