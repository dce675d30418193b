"""What a Windows host was before us, as noted there: what `retire` removes, and what it puts back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.state import WindowsFirewallState, WindowsRule

TUTORIAL_RULE = "ollama "
"""What the names begin with that people give to rules which we may adopt."""


@dataclass(frozen=True, slots=True)
class BeforeWindows:
    """What is known of the time before us; of what is not named it is taken that it was there."""

    known: bool = False
    """There is a note."""
    absent: frozenset[str] = frozenset()
    """Paths that we, or our server, have made."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The system's variables whose names begin with OLLAMA_."""
    rules: tuple[WindowsRule, ...] = ()
    """Rules made by hand that may have been adopted."""
    links: tuple[str, ...] = ()
    """What started the tray app when somebody logged in."""

    @classmethod
    def of(cls, state: HostState, layout: Layout) -> BeforeWindows:
        """Read the note on the host; one that cannot be read says nothing."""
        there = state.files.get(layout.before)
        try:
            raw = json.loads((there.content or b"") if there else b"")
            return cls(
                known=True,
                absent=frozenset(map(str, raw["absent"])),
                variables={str(name): str(value) for name, value in raw["variables"].items()},
                rules=tuple(map(_rule, raw["rules"])),
                links=tuple(map(str, raw["links"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def with_today(self, state: HostState, layout: Layout) -> BeforeWindows:
        """Add the places that are not there yet; all else is what the first look found."""
        absent = self.absent | {path for path in layout.places() if path not in state.files}
        if self.known:
            return replace(self, absent=absent)
        windows, firewall = state.windows, state.firewall
        rules = firewall.windows_rules if isinstance(firewall, WindowsFirewallState) else ()
        setups = windows.setups if windows else ()
        return BeforeWindows(
            known=True,
            absent=absent,
            variables=dict(windows.variables) if windows else {},
            rules=tuple(rule for rule in rules if _may_be_adopted(rule)),
            links=tuple(setup.startup_link for setup in setups if setup.startup_link),
        )

    def text(self) -> str:
        """The note, as it is written onto the host."""
        document = {
            "absent": sorted(self.absent),
            "variables": dict(sorted(self.variables.items())),
            "rules": [{**asdict(rule), "profiles": sorted(rule.profiles)} for rule in self.rules],
            "links": list(self.links),
        }
        return json.dumps(document, ensure_ascii=False)


def _may_be_adopted(rule: WindowsRule) -> bool:
    ours = rule.name.startswith(f"{MARK}-") or MARK in rule.description
    return not ours and rule.display.casefold().startswith(TUTORIAL_RULE)


def _rule(raw: Mapping[str, Any]) -> WindowsRule:
    return WindowsRule(
        name=str(raw["name"]),
        display=str(raw["display"]),
        description=str(raw["description"]),
        allows=bool(raw["allows"]),
        enabled=bool(raw["enabled"]),
        profiles=frozenset(map(str, raw["profiles"])),
        ports=tuple(map(str, raw["ports"])),
        sources=tuple(map(str, raw["sources"])),
        program=str(raw["program"]),
    )
