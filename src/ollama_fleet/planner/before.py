"""What was not on a host before us, as noted there before each change: so much may go when the host is retired."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState

NO_USER, NO_GROUP, NO_LINGERING = "no user", "no group", "no lingering"
_ABSENT = "absent "


def absent_line(path: str) -> str:
    """The line that says that a path was not there."""
    return f"{_ABSENT}{path}"


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of the time before us; of what is not named it is taken that it was there."""

    absent: frozenset[str] = frozenset()
    """Paths that we, or our server, have made."""
    user: bool = True
    group: bool = True
    lingering: bool = True

    @classmethod
    def of(cls, state: HostState, layout: Layout) -> Before:
        """Read the note on the host."""
        there = state.files.get(layout.before)
        lines = (there.content or b"").decode(errors="replace").splitlines() if there else []
        return cls(
            absent=frozenset(line.removeprefix(_ABSENT) for line in lines if line.startswith(_ABSENT)),
            user=NO_USER not in lines,
            group=NO_GROUP not in lines,
            lingering=NO_LINGERING not in lines,
        )
