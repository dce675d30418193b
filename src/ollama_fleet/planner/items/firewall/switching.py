"""Switching on a firewall that is off, where that is asked for, without losing the connection that does it.

What is decided here is which one it is, and what lets SSH in before it is on. That the connection is really still
there afterwards is proved by the operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.firewall_state import (
    ANY,
    Contact,
    FirewalldState,
    FirewallState,
    NftablesState,
    UfwState,
    networks,
)

Switchable = UfwState | FirewalldState | NftablesState
WITH_SSH = ("public", "home", "internal", "work", "dmz", "external")
"""firewalld's own zones that let SSH in by its usual port, unless a file says otherwise."""


def to_switch_on(firewall: FirewallState, backend: str, *, by_ssh: bool) -> Switchable | None:
    """Return the firewall that is to be switched on, as it would be then; None where one is on already.

    ufw before firewalld; where neither is installed, a table of our own in nftables, which closes our ports and
    nothing else. Legacy tables have nothing that could be switched on.

    Args:
        firewall: which is there.
        backend: the one that is demanded, or `auto`.
        by_ssh: the host is reached by SSH, so that contact can be lost.

    Raises:
        PlanError: there is none, or it would cut the connection that is asking.
    """
    if firewall.backend == "unknown" or (firewall.active and not firewall.off):
        return None
    named = {one.backend: one for one in firewall.off}
    chosen = next(iter(firewall.off), None) if backend == "auto" else named.get(backend)  # type: ignore[call-overload]
    if backend == "iptables":
        raise PlanError(
            "the legacy tables of iptables have nothing that could be switched on; write backend: nftables"
        )
    if not isinstance(chosen, Switchable):
        name = "ufw, firewalld or nftables" if backend == "auto" else backend
        raise PlanError(f"{name} cannot be switched on, as it is not installed; install it first")
    if not isinstance(chosen, NftablesState):
        if by_ssh and firewall.contact is None:
            raise PlanError(
                f"{chosen.backend} is not switched on, as the host does not tell by which port it is reached"
            )
        if firewall.contact is not None and (why := _cuts(chosen, firewall.contact)):
            raise PlanError(f"{chosen.backend} is not switched on, as it would cut this connection: {why}")
    return replace(chosen, contact=firewall.contact, listeners=firewall.listeners)


def openings(there: Switchable) -> Iterator[tuple[str, int]]:
    """Yield what has to be opened, so that SSH goes on for everybody as before: a zone (empty for ufw) and a port."""
    for port in there.ssh_ports:
        if isinstance(there, UfwState) and there.default_deny and not _let_in_by_ufw(there, port):
            yield "", port
        elif isinstance(there, FirewalldState):
            for zone in there.zones:
                if not _let_in_by_zone(there, zone, port):
                    yield zone, port


def shut(there: Switchable, ours: tuple[int, ...]) -> list[str]:
    """Ports on which something listens and which it would shut, `80 (nginx)`; nothing of what SSH and we use."""
    if isinstance(there, NftablesState) or (isinstance(there, UfwState) and not there.default_deny):
        return []
    opened = [rule for rule in there.rules if rule.action != "deny"]
    return [
        f"{one.port} ({one.program})" if one.program else str(one.port)
        for one in there.listeners
        if one.port not in (*ours, *there.ssh_ports)
        and one.program != "ollama"
        and not any(rule.covers(one.port) for rule in opened)
    ]


def _cuts(there: UfwState | FirewalldState, contact: Contact) -> str:
    """Why it would refuse this connection, whatever is added to it; empty if it would not."""
    if isinstance(there, UfwState):
        if not there.ipv6 and ip_address(contact.client).version == 6:
            return "it keeps no IPv6 rules (IPV6=no in /etc/default/ufw)"
    else:
        for zone, sources in there.refusing.items():
            if any(networks(source) and contact.is_from(source) for source in sources):
                return f"its zone {zone} refuses {contact.client}"
    for rule in there.rules:
        if not rule.covers(contact.port) or not contact.is_from(rule.source):
            continue
        if rule.action == "deny" and (not rule.place or rule.place in getattr(there, "zones", ())):
            return f"{rule.text}; remove that rule"
        if isinstance(there, UfwState) and rule.plain:
            break
    return ""


def _let_in_by_ufw(there: UfwState, port: int) -> bool:
    """Whether a rule lets this connection in, or, for another port, anybody; narrow rules do not count."""
    return any(
        rule.action != "deny"
        and rule.plain
        and rule.covers(port)
        and (there.contact is None or there.contact.port != port or there.contact.is_from(rule.source))
        for rule in there.rules
    )


def _let_in_by_zone(there: FirewalldState, zone: str, port: int) -> bool:
    return any(
        rule.place == zone and rule.action == "allow" and rule.covers(port) and rule.source == ANY
        for rule in there.rules
    ) or (port == 22 and zone in WITH_SSH and zone not in there.written)
