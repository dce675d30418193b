"""Which firewall is switched on, what lets SSH in before, and when it is better left off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.firewall_state import (
    ANY,
    Contact,
    FirewalldState,
    FirewallRule,
    FirewallState,
    Listener,
    NftablesState,
    UfwState,
)
from ollama_fleet.planner.items.firewall import ufw
from ollama_fleet.planner.items.firewall.switching import openings, shut, to_switch_on

HERE = Contact("10.0.0.5", 2222)
SSHD = Listener(2222, "sshd")
WEB = Listener(80, "nginx")


def off(*firewalls: FirewallState, contact: Contact | None = HERE) -> FirewallState:
    return FirewallState("none", contact=contact, listeners=(SSHD, WEB), off=firewalls)


def zone(action: str, port: int, source: str = ANY, place: str = "public") -> FirewallRule:
    return FirewallRule(action, source, ((port, port),), plain=False, text="theirs", place=place)  # type: ignore[arg-type]


UFW, FIREWALLD, NFTABLES = (
    UfwState("ufw"),
    FirewalldState("firewalld", zones=("public",)),
    NftablesState("nftables"),
)


def test_the_best_that_is_installed_or_the_one_that_is_named() -> None:
    everything = off(UFW, FIREWALLD, NFTABLES)
    for backend, chosen in {"auto": "ufw", "firewalld": "firewalld", "nftables": "nftables"}.items():
        found = to_switch_on(everything, backend, by_ssh=True)
        assert found is not None
        assert found.backend == chosen


def test_one_that_is_on_and_one_that_nobody_could_look_at_are_left() -> None:
    assert to_switch_on(replace(UFW, active=True), "auto", by_ssh=True) is None
    assert to_switch_on(FirewallState(), "auto", by_ssh=True) is None


@pytest.mark.parametrize(
    ("there", "backend", "why"),
    [
        (off(), "auto", "ufw, firewalld or nftables cannot be switched on"),
        (off(UFW), "firewalld", "firewalld cannot be switched on, as it is not installed"),
        (off(UFW), "iptables", "legacy tables"),
        (off(UFW, contact=None), "auto", "by which port"),
        (off(replace(UFW, ipv6=False), contact=Contact("fd00::5", 22)), "auto", "IPV6=no"),
        (off(replace(UFW, rules=(ufw.rule("deny", "10.0.0.0/8", 2222),))), "auto", "remove that rule"),
        (
            off(replace(FIREWALLD, refusing={"drop": ("10.0.0.0/24",)})),
            "auto",
            "its zone drop refuses 10.0.0.5",
        ),
        (off(replace(FIREWALLD, rules=(zone("deny", 2222),))), "auto", "theirs; remove"),
    ],
)
def test_what_would_cut_the_connection_is_not_switched_on(
    there: FirewallState, backend: str, why: str
) -> None:
    with pytest.raises(PlanError, match=why):
        to_switch_on(there, backend, by_ssh=True)


@pytest.mark.parametrize(
    "there",
    [
        replace(UFW, rules=(ufw.rule("allow", "10.0.0.0/8", 2222), ufw.rule("deny", "0.0.0.0/0", 2222))),
        replace(UFW, rules=(ufw.rule("deny", "10.0.0.0/8", 80),)),
        replace(UFW, rules=(ufw.rule("deny", "10.9.0.0/16", 2222),)),
        replace(FIREWALLD, refusing={"drop": ("10.9.0.0/24", "ipset:bad")}),
        replace(FIREWALLD, rules=(zone("deny", 2222, place="dmz"),)),
    ],
)
def test_what_is_about_others_does_not_matter(there: UfwState | FirewalldState) -> None:
    assert to_switch_on(off(there), "auto", by_ssh=True) is not None


def test_ssh_is_let_in_where_no_rule_does_so_yet() -> None:
    def opened(there: FirewallState) -> list[tuple[str, int]]:
        chosen = to_switch_on(off(there), "auto", by_ssh=True)
        assert chosen is not None
        return list(openings(chosen))

    assert opened(UFW) == [("", 2222)]
    assert opened(replace(UFW, default_deny=False)) == []
    assert opened(replace(UFW, rules=(ufw.rule("allow", "10.0.0.0/8", 2222),))) == []
    assert opened(replace(UFW, rules=(ufw.rule("allow", "10.9.0.0/16", 2222),))) == [("", 2222)]
    assert opened(replace(UFW, rules=(replace(ufw.rule("allow", ANY, 2222), plain=False),))) == [("", 2222)]
    assert opened(FIREWALLD) == [("public", 2222)]
    assert opened(replace(FIREWALLD, zones=("home", "public"), rules=(zone("allow", 2222),))) == [
        ("home", 2222)
    ]
    assert opened(NFTABLES) == []


def test_the_usual_port_is_open_in_a_zone_as_firewalld_has_it_and_not_in_one_that_somebody_wrote() -> None:
    there = FirewallState("none", contact=Contact("10.0.0.5", 22), off=(FIREWALLD,))
    chosen = to_switch_on(there, "auto", by_ssh=True)
    assert isinstance(chosen, FirewalldState)
    assert list(openings(chosen)) == []
    assert list(openings(replace(chosen, written=frozenset({"public"})))) == [("public", 22)]
    assert list(openings(replace(chosen, zones=("drop",)))) == [("drop", 22)]


def test_what_listens_and_will_be_shut_is_told() -> None:
    def told(there: FirewallState) -> list[str]:
        chosen = to_switch_on(off(there), "auto", by_ssh=True)
        assert chosen is not None
        return shut(chosen, (11434,))

    assert told(UFW) == ["80 (nginx)"]
    assert told(replace(UFW, rules=(ufw.rule("allow", "10.0.0.0/8", 80),))) == []
    assert told(replace(UFW, default_deny=False)) == []
    assert told(NFTABLES) == []
