"""Rules of ours in their order: what is missing, what is too much, and that nothing is left after one change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_fleet.planner.firewall_state import (
    FirewalldState,
    FirewallRule,
    LegacyTable,
    LoadedRule,
    NftablesState,
    UfwState,
)
from ollama_fleet.planner.items.firewall import ANYWHERE, WantedFirewall, firewalld, iptables, nftables, ufw
from ollama_fleet.planner.items.firewall.notes import notes
from ollama_fleet.planner.layout import Layout

LAYOUT = Layout.of("system")
PORT = 11434
SOURCES = ["10.0.0.0/24", "10.1.0.0/16", "fd00::/64", *ANYWHERE]
some_sources = st.lists(st.sampled_from(SOURCES), unique=True)
ports = st.sampled_from([PORT, 11500])
port_lists = st.sampled_from([[PORT], [PORT, 11500], [11500]])
ufw_rules = st.lists(
    st.builds(
        lambda action, source, port, ours: replace(ufw.rule(action, source, port), ours=ours),
        st.sampled_from(["allow", "limit", "deny"]),
        st.sampled_from(SOURCES),
        ports,
        st.booleans(),
    ),
    unique_by=lambda rule: (rule.source, rule.ports),
)


def as_ufw_does(state: UfwState, needed: ufw.UfwChanges) -> UfwState:
    """Delete, then add at the end; a rule with the same source and port is replaced where it stands."""
    rules = [rule for rule in state.rules if rule not in needed.remove]
    for new in needed.add:
        same = [
            index for index, rule in enumerate(rules) if (rule.source, rule.ports) == (new.source, new.ports)
        ]
        if same:
            rules[same[0]] = new
        else:
            rules.append(new)
    loaded = frozenset(LoadedRule(rule.action, rule.source, rule.ports[0][0]) for rule in rules)
    return replace(state, rules=tuple(rules), loaded=loaded)


@given(ufw_rules, some_sources | st.none(), st.booleans(), st.booleans(), port_lists)
@example([ufw.rule("deny", ANYWHERE[0], PORT)], ["10.0.0.0/24"], False, True, [PORT])
def test_ufw_is_right_after_one_change_and_others_keep_their_rules(
    rules: list[FirewallRule], sources: list[str] | None, deny: bool, ipv6: bool, wanted_ports: list[int]
) -> None:
    state = UfwState("ufw", True, tuple(rules), default_deny=deny, ipv6=ipv6)
    after = as_ufw_does(state, ufw.changes(wanted_ports, sources, state))
    assert ufw.differences(wanted_ports, sources, after) == []
    wanted = {(rule.source, rule.ports) for rule in ufw.wanted_rules(wanted_ports, sources, state)}
    theirs = [rule for rule in rules if not rule.ours and (rule.source, rule.ports) not in wanted]
    assert [rule for rule in theirs if rule not in after.rules] == []
    mine = [rule for rule in after.rules if rule.ours]
    for six in (False, True):
        actions = [rule.action for rule in mine if (":" in rule.source) == six]
        assert actions == sorted(actions), "every deny of ours comes after every allow"


@pytest.mark.parametrize("loaded", [True, False])
@given(sources=some_sources | st.none(), before=some_sources, port=ports, wanted_ports=port_lists)
def test_firewalld_is_right_after_one_change(
    loaded: bool, sources: list[str] | None, before: list[str], port: int, wanted_ports: list[int]
) -> None:
    there = firewalld.wanted_rules([port], before)
    state = FirewalldState(
        "firewalld",
        True,
        tuple(
            FirewallRule(rule.action, rule.source, ((port, port),), ours=True, place="home") for rule in there
        ),
        zones=("home", "public"),
        loaded={"home": tuple(there), "public": ()} if loaded else None,
    )
    for zone in firewalld.changes(wanted_ports, sources, state):
        start = there if zone.zone == "home" else []
        wanted = set(firewalld.wanted_rules(wanted_ports, sources))
        assert (set(start) | set(zone.add)) - set(zone.remove) == wanted
        assert (set(start) | set(zone.load)) - set(zone.unload) == wanted
    if sources is not None and set(sources) == set(before) and [port] == wanted_ports:
        assert [zone.zone for zone in firewalld.changes(wanted_ports, sources, state)] == ["public"]


def test_firewalld_rules_that_only_the_kernel_has_are_unloaded_and_those_after_the_closing_one_are_not_ours() -> (
    None
):
    there = firewalld.wanted_rules([PORT], ["10.0.0.0/24"])
    wider, theirs = LoadedRule("allow", "0.0.0.0/0", PORT), LoadedRule("allow", "::/0", PORT)
    state = FirewalldState(
        "firewalld",
        True,
        tuple(
            FirewallRule(rule.action, rule.source, ((PORT, PORT),), ours=True, place="public")
            for rule in there
        ),
        zones=("public",),
        loaded={"public": (LoadedRule("allow", "any", 80), wider, *there, theirs)},
    )
    (found,) = firewalld.changes([PORT], ["10.0.0.0/24"], state)
    assert (found.add, found.remove, found.load, found.unload) == ((), (), (), (wider,))


def test_firewalld_rules_are_written_in_its_language() -> None:
    rules = firewalld.wanted_rules([PORT], ["10.0.0.0/24", "::/0"])
    assert [firewalld.rich_rule(rule) for rule in rules] == [
        'rule priority="-32768" family="ipv4" source address="10.0.0.0/24" port port="11434" protocol="tcp" accept',
        'rule priority="-32768" family="ipv6" port port="11434" protocol="tcp" accept',
        'rule priority="-32767" port port="11434" protocol="tcp" drop',
    ]


def test_an_nftables_chain_gets_the_openings_of_its_family_and_the_script_does_not_depend_on_their_order() -> (
    None
):
    sources = ["10.0.0.0/24", "fd00::/64"]
    assert len(nftables.openings([PORT], sources, "inet filter input")) == 2
    assert nftables.openings([PORT], sources, "ip filter INPUT") == [
        'ip saddr 10.0.0.0/24 tcp dport 11434 accept comment "ollama-fleet"'
    ]
    everything = ((1, 65535),)
    one = NftablesState(
        "nftables", True, refusing={"ip a b": everything, "ip6 a b": everything, "ip c d": ((22, 22),)}
    )
    other = NftablesState("nftables", True, refusing={"ip6 a b": everything, "ip a b": everything})
    assert one.chains([PORT]) == other.chains([PORT]) == ("ip a b", "ip6 a b")


def test_a_ufw_that_is_off_and_a_ufw_without_ipv6_are_told() -> None:
    wanted = WantedFirewall((PORT,), ("10.0.0.0/24", "fd00::/64"), LAYOUT)
    assert list(notes(wanted, UfwState("ufw"))) == [
        "ufw is switched on but not running: whoever reaches port 11434 can use and change the models"
    ]
    assert list(notes(wanted, UfwState("ufw", True, ipv6=False))) == [
        "ufw keeps no IPv6 rules (IPV6=no), so fd00::/64 cannot reach port 11434"
    ]


def test_firewalld_whose_kernel_rules_cannot_be_read_is_told() -> None:
    wanted = WantedFirewall((PORT,), ("10.0.0.0/24",), LAYOUT)
    assert list(notes(wanted, FirewalldState("firewalld", True))) == [
        "the running rules of firewalld cannot be read here, only its permanent ones are compared"
    ]


OURS = iptables.own_rules([PORT], ["10.0.0.0/24", "fd00::/64", *ANYWHERE], 4)


def test_a_legacy_chain_has_the_rules_of_its_family() -> None:
    assert (
        "-i lo -j RETURN",
        f"-s 10.0.0.0/24 -p tcp -m tcp --dport {PORT} -j ACCEPT",
        f"-p tcp -m tcp --dport {PORT} -j ACCEPT",
        f"-p tcp -m tcp --dport {PORT} -j DROP",
    ) == OURS


@pytest.mark.parametrize(
    ("ahead", "place"),
    [
        ("-i lo -j ACCEPT", "first"),
        ("-p udp -j DROP", "first"),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "first"),
        ("-p tcp -m tcp --dport 22 -j ACCEPT", "first"),
        ("-p tcp -m multiport --dports 22,80:90 -j f2b", "first"),
        (f"-p tcp -m tcp --dport {PORT} -j LOG", "first"),
        ("! -i lo -j DROP", None),
        ("-p tcp -m tcp ! --dport 22 -j DROP", None),
        ("-p tcp -m multiport --dports 22,11000:12000 -j f2b", None),
        ("-m conntrack ! --ctstate ESTABLISHED -j DROP", None),
        ("-s 10.0.0.7/32 -j DROP", None),
        ("-j OTHERS", None),
        ("-g OTHERS", None),
        ('-m comment --comment "a -p udp" -j DROP', None),
    ],
)
def test_only_a_rule_that_could_decide_about_our_ports_must_not_go_before_our_chain(
    ahead: str, place: str | None
) -> None:
    table = LegacyTable("iptables", "DROP", (ahead, "-j OLLAMA-FLEET"), OURS)
    found = iptables.differences([PORT], ["10.0.0.0/24", "fd00::/64", *ANYWHERE], {4: table})
    assert [difference.actual for difference in found] == ([] if place else [f"after {ahead}"])


def test_a_legacy_chain_that_is_missing_altered_or_not_asked_is_told() -> None:
    told = iptables.differences([PORT], ["10.0.0.0/24"], {6: LegacyTable("ip6tables")})
    assert [(one.aspect, one.actual) for one in told] == [
        ("IPv6 chain OLLAMA-FLEET", "absent"),
        ("IPv6 INPUT asks it", "never"),
    ]
    assert iptables.differences([PORT], None, {6: LegacyTable("ip6tables")}) == []
    assert len(iptables.differences([PORT], None, {4: LegacyTable("iptables", own=())})) == 1
