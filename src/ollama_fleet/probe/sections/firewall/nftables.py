"""Rules that no other firewall keeps: our table, and chains of the host's own that may refuse packets."""

from __future__ import annotations

from ollama_fleet.planner.firewall_state import FirewallRule, FirewallState, NftablesState
from ollama_fleet.planner.items.firewall.nftables import TABLE
from ollama_fleet.planner.layout import MARK
from ollama_fleet.probe.sections.firewall.ruleset import Rule, Ruleset, listed, refuses, targets, understood

FAMILIES = ("ip", "ip6", "inet")
"""Families whose input hook sees IP packets for this machine."""
OWN = f"{TABLE} input"


def parse(ruleset: Ruleset, *, service_active: bool) -> FirewallState:
    """Return the state; `none` where no rule is loaded and nothing loads any."""
    inputs = {
        place: chain
        for place, chain in ruleset.chains.items()
        if chain.get("hook") == "input" and chain["family"] in FAMILIES
    }
    if not service_active and not inputs:
        return FirewallState("none")
    refusing = [
        place
        for place, chain in inputs.items()
        if place != OWN and (chain.get("policy") == "drop" or _may_refuse(ruleset, place, set()))
    ]
    loaded = {
        place: "\n".join(listed(rule) for rule in ruleset.of(place) if _is_ours(rule))
        for place in inputs
        if place in refusing or any(map(_is_ours, ruleset.of(place)))
    }
    loaded.pop(OWN, None)
    if OWN in inputs:
        loaded["table"] = "\n".join([_head(inputs[OWN]), *map(listed, ruleset.of(OWN))])
    shut = [rule for place in refusing for rule in _ahead_of_ours(ruleset, place)]
    return NftablesState("nftables", True, tuple(shut), chains=tuple(refusing), loaded=loaded)


def _head(chain: Rule) -> str:
    return "type {type} hook {hook} priority {prio}; policy {policy};".format_map(
        {key: chain.get(key) for key in ("type", "hook", "prio", "policy")}
    )


def _is_ours(rule: Rule) -> bool:
    return rule.get("comment") == MARK


def _may_refuse(ruleset: Ruleset, place: str, seen: set[str]) -> bool:
    """Whether a packet that enters a chain may be refused in it or in one that it leads to."""
    if place in seen:
        return False
    seen.add(place)
    table = place.rpartition(" ")[0]
    return any(
        refuses(rule) or any(_may_refuse(ruleset, f"{table} {target}", seen) for target in targets(rule))
        for rule in ruleset.of(place)
        if not _is_ours(rule)
    )


def _ahead_of_ours(ruleset: Ruleset, place: str) -> list[FirewallRule]:
    """Rules that refuse before ours can accept; none where none of ours is there, as they go to the top."""
    found: list[FirewallRule] = []
    for rule in ruleset.of(place):
        if _is_ours(rule):
            return found
        read = understood(rule, place)
        if read is not None and read.action == "deny":
            found.append(read)
    return []
