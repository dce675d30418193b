"""The rule in Windows Defender Firewall: one TCP port, three profiles, the networks that may come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.items.firewall import WantedFirewall
from ollama_fleet.planner.layout import MARK
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.addresses import canonical, written
from ollama_fleet.planner.windows.state import WindowsFirewallState, WindowsRule

PROFILES = ("Domain", "Private", "Public")
DESCRIPTION = f"ollama默认端口号 (Ollama's port; kept by {MARK}, settings belong into fleet.yaml)"


@dataclass(frozen=True, slots=True)
class WindowsFirewall(WantedFirewall):
    """As on Linux, one port; the rule bears the name that the tutorial gives it."""

    @property
    def rule(self) -> str:
        """Name of the rule where we make it."""
        return f"{MARK}-{self.port}"

    @property
    def display(self) -> str:
        """What people see; a rule of this name that somebody made by hand is adopted."""
        return f"ollama {self.port}"

    def managed(self, state: HostState) -> WindowsRule | None:
        """The rule that is or becomes ours."""
        rules = _rules(state)
        mine = [rule for rule in rules if rule.name == self.rule]
        by_hand = [
            rule for rule in rules if rule.display.casefold() == self.display and rule.program == "Any"
        ]
        return next(iter([*mine, *(rule for rule in by_hand if rule.allows)]), None)

    def leftovers(self, state: HostState) -> list[WindowsRule]:
        """Rules of ours that are not wanted, for other ports or at all."""
        keep = self.managed(state) if self.present else None
        return [rule for rule in _rules(state) if _is_ours(rule) and rule != keep]

    def differences(self, state: HostState) -> list[Difference]:
        """Compare the rule in every respect; rules of others are only told."""
        found = [Difference(f"rule {rule.name}", "absent", "present") for rule in self.leftovers(state)]
        if not self.present:
            return found
        there = self.managed(state)
        if there is None:
            return [*found, Difference(f"rule {self.display}", "present", "absent")]
        wanted = canonical(written(self.sources))
        actual = canonical(there.sources)
        return [
            *found,
            *compare("enabled", True, there.enabled),
            *compare("action", "Allow", "Allow" if there.allows else "Block"),
            *compare("name", self.display, there.display),
            *compare("description", DESCRIPTION, there.description or None),
            *compare("profiles", ", ".join(PROFILES), ", ".join(_profiles(there))),
            *compare("port", str(self.port), ", ".join(there.ports)),
            *compare("from", ", ".join(sorted(wanted)), ", ".join(sorted(actual))),
        ]

    def notes(self, state: HostState) -> Iterator[str]:
        """What a user should know and no operation changes."""
        firewall = state.firewall
        if not isinstance(firewall, WindowsFirewallState):
            return
        if not self.present:
            return
        if not firewall.active:
            yield f"Windows Defender Firewall is off: whoever reaches port {self.port} can use and change the models"
            return
        if not firewall.local_rules:
            yield (
                "a group policy lets no firewall rules of the machine's own count (AllowLocalPolicyMerge=0), so "
                f"port {self.port} stays shut: ask whoever keeps the policy"
            )
        managed = self.managed(state)
        for rule in firewall.windows_rules:
            if rule == managed or not rule.enabled or _is_ours(rule):
                continue
            about_port = str(self.port) in rule.ports
            about_ollama = rule.program.casefold().endswith("\\ollama.exe")
            if not rule.allows and (about_port or about_ollama):
                yield (
                    f"the rule {rule.display!r} of somebody else blocks, which beats every rule that allows: "
                    f"port {self.port} stays shut to those it is about"
                )
            elif rule.allows and about_port and rule.program == "Any":
                yield f"the rule {rule.display!r} of somebody else opens port {self.port} too"
            elif rule.allows and about_ollama:
                yield f"the rule {rule.display!r} of somebody else lets others reach {rule.program} on every port"


def _rules(state: HostState) -> tuple[WindowsRule, ...]:
    return state.firewall.windows_rules if isinstance(state.firewall, WindowsFirewallState) else ()


def _is_ours(rule: WindowsRule) -> bool:
    return rule.name.startswith(f"{MARK}-") or MARK in rule.description


def _profiles(rule: WindowsRule) -> tuple[str, ...]:
    return PROFILES if rule.profiles == {"Any"} else tuple(name for name in PROFILES if name in rule.profiles)
