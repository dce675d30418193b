"""What a user should know about the firewall and no operation changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ollama_fleet.planner.firewall_state import (
    FirewalldState,
    FirewallRule,
    FirewallState,
    IptablesState,
    NftablesState,
    UfwState,
    networks,
)
from ollama_fleet.planner.items.firewall.switching import shut
from ollama_fleet.planner.items.firewall.wanted import WantedFirewall


def notes(wanted: WantedFirewall, firewall: FirewallState) -> Iterator[str]:
    """Yield one line each; what holds for several ports is told of each."""
    if wanted.switched is not None:
        firewall = replace(wanted.switched, active=True)
        if ports := shut(wanted.switched, wanted.ports):
            yield (
                f"{firewall.backend} will shut ports on which something listens here: {', '.join(ports)}; "
                "let them in first, if others should reach them"
            )
    if not wanted.present:
        return
    for port in wanted.ports:
        yield from _about(port, wanted, firewall)


def _about(port: int, wanted: WantedFirewall, firewall: FirewallState) -> Iterator[str]:
    if not firewall.active:
        why = "ufw is switched on but not running" if firewall.backend == "ufw" else "no firewall is active"
        yield f"{why}: whoever reaches port {port} can use and change the models"
        return
    if isinstance(firewall, UfwState):
        yield from _ufw(port, wanted, firewall)
    elif isinstance(firewall, NftablesState):
        yield from _nftables(port, wanted, firewall)
    elif isinstance(firewall, IptablesState) and firewall.beside is not None:
        yield from _nftables(port, wanted, firewall.beside)
    elif isinstance(firewall, FirewalldState):
        yield from _firewalld(port, wanted, firewall)


def _ufw(port: int, wanted: WantedFirewall, firewall: UfwState) -> Iterator[str]:
    sixes = [source for source in wanted.sources if ":" in source]
    if sixes and not firewall.ipv6:
        yield f"ufw keeps no IPv6 rules (IPV6=no), so {', '.join(sixes)} cannot reach port {port}"
    for position, rule in enumerate(firewall.rules):
        if rule.ours or not rule.covers(port):
            continue
        if rule.action == "allow":
            if not _within(rule.source, wanted.sources):
                yield f"a firewall rule of somebody else opens port {port}: {rule.text}"
        elif _shuts_out(position, firewall.rules, wanted.sources):
            what = "limits" if rule.action == "limit" else "refuses"
            yield f"a firewall rule of somebody else {what} those who may reach port {port}: {rule.text}"


def _nftables(port: int, wanted: WantedFirewall, firewall: NftablesState) -> Iterator[str]:
    for rule in firewall.rules:
        if rule.covers(port) and _overlaps(rule.source, wanted.sources):
            yield (
                f"a firewall rule of somebody else in {rule.place} refuses those who may reach port {port}: "
                f"{rule.text}"
            )


def _firewalld(port: int, wanted: WantedFirewall, firewall: FirewalldState) -> Iterator[str]:
    if firewall.loaded is None:
        yield "the running rules of firewalld cannot be read here, only its permanent ones are compared"
    for rule in firewall.rules:
        if (
            not rule.ours
            and rule.action == "allow"
            and rule.covers(port)
            and rule.place in firewall.zones
            and not _within(rule.source, wanted.sources)
        ):
            yield (
                f"a firewall rule of somebody else in zone {rule.place} opens port {port}: {rule.text}; "
                "ours come first, so it has no effect"
            )
    for zone, sources in firewall.refusing.items():
        shut = [source for source in sources if _overlaps(source, wanted.sources)]
        if shut:
            yield f"the firewall's zone {zone} refuses {', '.join(shut)}, so they cannot reach port {port}"


def _shuts_out(position: int, rules: Sequence[FirewallRule], sources: Sequence[str]) -> bool:
    """Whether a rule is tried on somebody who may come in, with no rule of ours before it that has let them in."""
    mine = [rule.source for rule in rules[:position] if rule.ours and rule.action == "allow"]
    refused = networks(rules[position].source)
    both = [
        max(network, other, key=lambda one: one.prefixlen)
        for network in refused
        for source in sources
        for other in networks(source)
        if network.overlaps(other)
    ]
    return not refused or any(not _within(str(network), mine) for network in both)


def _within(source: str, sources: Sequence[str]) -> bool:
    """Whether everybody whom a source means is among the networks."""
    allowed = [network for name in sources for network in networks(name)]
    mine = networks(source)
    return bool(mine) and all(
        any(network.version == other.version and network.subnet_of(other) for other in allowed)  # type: ignore[arg-type]
        for network in mine
    )


def _overlaps(source: str, sources: Sequence[str]) -> bool:
    """Whether somebody whom a source means may be among the networks."""
    mine = networks(source)
    allowed = [network for name in sources for network in networks(name)]
    return not mine or any(network.overlaps(other) for network in mine for other in allowed)
