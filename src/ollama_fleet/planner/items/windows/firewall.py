"""The rules in Windows Defender Firewall: each for one TCP port, three profiles, the networks that may come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    """As on Linux; each port has a rule of its own, which bears the name that the tutorial gives it."""

    def rule(self, port: int) -> str:
        """Name of the rule of a port where we make it."""
        return f"{MARK}-{port}"

    def display(self, port: int) -> str:
        """What people see; a rule of this name that somebody made by hand is adopted."""
        return f"ollama {port}"

    def managed(self, port: int, state: HostState) -> WindowsRule | None:
        """The rule of a port that is or becomes ours."""
        rules = _rules(state)
        mine = [rule for rule in rules if rule.name == self.rule(port)]
        by_hand = [
            rule for rule in rules if rule.display.casefold() == self.display(port) and rule.program == "Any"
        ]
        return next(iter([*mine, *(rule for rule in by_hand if rule.allows)]), None)

    def leftovers(self, state: HostState) -> list[WindowsRule]:
        """Rules of ours that are not wanted, for other ports or at all."""
        keep = [self.managed(port, state) for port in self.ports] if self.present else []
        return [rule for rule in _rules(state) if _is_ours(rule) and rule not in keep]

    def differences(self, state: HostState) -> list[Difference]:
        """Compare the rules in every respect; rules of others are only told."""
        found = [Difference(f"rule {rule.name}", "absent", "present") for rule in self.leftovers(state)]
        if not self.present:
            return found
        for port in self.ports:
            told = len(self.ports) > 1 and self.managed(port, state) is not None
            found += [
                replace(one, aspect=f"{self.display(port)}: {one.aspect}") if told else one
                for one in self.of_port(port, state)
            ]
        return found

    def of_port(self, port: int, state: HostState) -> list[Difference]:
        """Compare the rule of one port."""
        there = self.managed(port, state)
        if there is None:
            return [Difference(f"rule {self.display(port)}", "present", "absent")]
        wanted = canonical(written(self.sources))
        actual = canonical(there.sources)
        return [
            *compare("enabled", True, there.enabled),
            *compare("action", "Allow", "Allow" if there.allows else "Block"),
            *compare("name", self.display(port), there.display),
            *compare("description", DESCRIPTION, there.description or None),
            *compare("profiles", ", ".join(PROFILES), ", ".join(_profiles(there))),
            *compare("port", str(port), ", ".join(there.ports)),
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
            yield f"Windows Defender Firewall is off: whoever reaches {self.name} can use and change the models"
            return
        several = len(self.ports) > 1
        if not firewall.local_rules:
            yield (
                "a group policy lets no firewall rules of the machine's own count (AllowLocalPolicyMerge=0), so "
                f"{self.name} {'stay' if several else 'stays'} shut: ask whoever keeps the policy"
            )
        managed = [self.managed(port, state) for port in self.ports]
        for rule in firewall.windows_rules:
            if rule in managed or not rule.enabled or _is_ours(rule):
                continue
            about_port = next((port for port in self.ports if str(port) in rule.ports), None)
            about_ollama = rule.program.casefold().endswith("\\ollama.exe")
            if not rule.allows and (about_port or about_ollama):
                shut = (
                    f"{self.name} stay"
                    if several and not about_port
                    else f"port {about_port or self.port} stays"
                )
                yield (
                    f"the rule {rule.display!r} of somebody else blocks, which beats every rule that allows: "
                    f"{shut} shut to those it is about"
                )
            elif rule.allows and about_port and rule.program == "Any":
                yield f"the rule {rule.display!r} of somebody else opens port {about_port} too"
            elif rule.allows and about_ollama:
                yield f"the rule {rule.display!r} of somebody else lets others reach {rule.program} on every port"


def _rules(state: HostState) -> tuple[WindowsRule, ...]:
    return state.firewall.windows_rules if isinstance(state.firewall, WindowsFirewallState) else ()


def _is_ours(rule: WindowsRule) -> bool:
    return rule.name.startswith(f"{MARK}-") or MARK in rule.description


def _profiles(rule: WindowsRule) -> tuple[str, ...]:
    return PROFILES if rule.profiles == {"Any"} else tuple(name for name in PROFILES if name in rule.profiles)
