"""Rules that no other firewall keeps: our table, and chains of the host's own that may refuse packets."""

from __future__ import annotations

from ollama_fleet.planner.firewall_state import (
    ALL_PORTS,
    FirewallRule,
    FirewallState,
    NftablesState,
    Ports,
)
from ollama_fleet.planner.items.firewall.nftables import TABLE
from ollama_fleet.planner.layout import MARK
from ollama_fleet.probe.sections.firewall.ruleset import (
    Rule,
    Ruleset,
    listed,
    refuses,
    targets,
    tcp_ports,
    understood,
)

FAMILIES = ("ip", "ip6", "inet")
"""Families whose input hook sees IP packets for this machine."""
OWN = f"{TABLE} input"


def parse(ruleset: Ruleset, *, loads: bool) -> FirewallState:
    """Return the state; `none` where no rule is loaded and no unit loads any."""
    inputs = {
        place: chain
        for place, chain in ruleset.chains.items()
        if chain.get("hook") == "input" and chain["family"] in FAMILIES
    }
    if not loads and not inputs:
        return FirewallState("none")
    refused = {
        place: _refused_ports(ruleset, place, chain) for place, chain in inputs.items() if place != OWN
    }
    refusing = {place: ports for place, ports in refused.items() if ports}
    loaded = {
        place: "\n".join(listed(rule) for rule in ruleset.of(place) if _is_ours(rule)) for place in refused
    }
    if OWN in inputs:
        loaded["table"] = "\n".join([_head(inputs[OWN]), *map(listed, ruleset.of(OWN))])
    shut = [rule for place in refusing for rule in _ahead_of_ours(ruleset, place)]
    return NftablesState("nftables", True, tuple(shut), refusing=refusing, loaded=loaded)


def _head(chain: Rule) -> str:
    return "type {type} hook {hook} priority {prio}; policy {policy};".format_map(
        {key: chain.get(key) for key in ("type", "hook", "prio", "policy")}
    )


def _is_ours(rule: Rule) -> bool:
    return rule.get("comment") == MARK


def _refused_ports(ruleset: Ruleset, place: str, chain: Rule) -> Ports:
    """TCP ports for which a packet may be refused in a base chain or in one that it leads to."""
    return (ALL_PORTS,) if chain.get("policy") == "drop" else _refused_by_rules(ruleset, place, {})


def _refused_by_rules(ruleset: Ruleset, place: str, known: dict[str, Ports]) -> Ports:
    if place not in known:
        known[place] = ()
        table = place.rpartition(" ")[0]
        found: dict[tuple[int, int], None] = {}
        for rule in ruleset.of(place):
            if _is_ours(rule):
                continue
            ports = tcp_ports(rule)
            if refuses(rule):
                found.update(dict.fromkeys(ports))
            for target in targets(rule):
                beyond = _refused_by_rules(ruleset, f"{table} {target}", known)
                # Both must be met; where the jump names ports they are taken as they are, which may be too many.
                found.update(dict.fromkeys(ports if beyond and ports != (ALL_PORTS,) else beyond))
        known[place] = tuple(found)
    return known[place]


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
