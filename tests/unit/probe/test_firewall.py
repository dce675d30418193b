"""Reading firewalls: whose a rule is, which ports it is about, and that nothing on a host makes the reader fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.planner.firewall_state import (
    Contact,
    FirewalldState,
    FirewallState,
    IptablesState,
    LegacyTable,
    Listener,
    LoadedRule,
    NftablesState,
    UfwState,
)
from ollama_fleet.probe.sections import firewall

MARK = "comment=6f6c6c616d612d666c656574"
RUNNING = {"firewalld.service": {"ActiveState": "active"}}
ON = {"/etc/ufw/ufw.conf": "ENABLED=yes\n", "/etc/default/ufw": 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n'}


def lines(files: Mapping[str, str] = {}, **texts: str) -> list[str]:
    """What the probe's section prints."""

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    return [
        "looked",
        *(f"file {path} {encoded(text)}" for path, text in files.items()),
        *(f"{tag} {encoded(text)}" for tag, text in texts.items()),
    ]


def ufw(*tuples: str, six: tuple[str, ...] = (), **settings: str) -> UfwState:
    """A running ufw with these rules."""
    files = {
        **ON,
        "/etc/ufw/user.rules": "".join(f"### tuple ### {line}\n" for line in tuples),
        "/etc/ufw/user6.rules": "".join(f"### tuple ### {line}\n" for line in six),
    }
    state = firewall.parse(lines({**files, **settings}, ufw="-N ufw-user-input\n", ufw6="\n"), {})
    assert isinstance(state, UfwState)
    return state


def nft(*chains: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> FirewallState:
    """The kernel's ruleset: input chains in `inet t`, and rules given as (chain, expressions)."""
    entries = [
        {
            "chain": {
                "family": "inet",
                "table": "t",
                "type": "filter",
                "hook": "input",
                "prio": 0,
                "policy": "accept",
            }
            | chain
        }
        for chain in chains
    ]
    text = json.dumps({"nftables": [*entries, *({"rule": rule} for rule in rules or [])]})
    return firewall.parse(lines(nft=text), {})


def rule(chain: str, *expr: dict[str, Any], comment: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"family": "inet", "table": "t", "chain": chain, "handle": 1, "expr": list(expr)}
    return found | ({"comment": comment} if comment else {})


def dport(right: object, protocol: str = "tcp") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": right}}


def test_the_one_in_charge_is_ufw_before_firewalld_before_nftables() -> None:
    chain = {"chain": {"family": "inet", "table": "t", "name": "c", "hook": "input", "policy": "drop"}}
    ruleset = json.dumps({"nftables": [chain]})
    off = {"/etc/ufw/ufw.conf": "ENABLED=no\n"}
    assert firewall.parse(lines(ON, ufw="-N x"), RUNNING).backend == "ufw"
    assert firewall.parse(lines(off, nft=ruleset), RUNNING).backend == "firewalld"
    assert firewall.parse(lines(off, nft=ruleset), {}).backend == "nftables"
    assert firewall.parse(lines(off, nft='{"nftables": []}'), {}) == FirewallState("none")
    assert firewall.parse(lines(), {}) == FirewallState("none")
    assert firewall.parse([], RUNNING) == FirewallState("unknown")


def test_a_ufw_whose_chains_are_not_loaded_is_not_active() -> None:
    assert not firewall.parse(lines(ON), {}).active


@pytest.mark.parametrize(
    ("line", "action", "source", "ports", "ours", "plain", "text"),
    [
        ("allow tcp 11434 0.0.0.0/0 any 10.0.0.0/24 in " + MARK, "allow", "10.0.0.0/24", ((11434, 11434),), True, True,
         "allow in proto tcp from 10.0.0.0/24 to any port 11434"),
        ("reject tcp 1:3,9 0.0.0.0/0 any 10.0.0.7 in", "deny", "10.0.0.7/32", ((1, 3), (9, 9)), False, False,
         "reject in proto tcp from 10.0.0.7/32 to any port 1:3,9"),
        ("limit_log any 22 10.0.0.1 53 0.0.0.0/0 in_eth0", "limit", "0.0.0.0/0", ((22, 22),), False, False,
         "limit in on eth0 log from 0.0.0.0/0 port 53 to 10.0.0.1 port 22"),
        ("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in " + MARK, "allow", "0.0.0.0/0", ((22, 22),), False, False,
         "allow in proto tcp from 0.0.0.0/0 to any port 22"),
    ],
)  # fmt: skip
def test_ufw_rules_are_read(
    line: str, action: str, source: str, ports: object, ours: bool, plain: bool, text: str
) -> None:
    (found,) = ufw(line).rules
    assert (found.action, found.source, found.ports, found.ours, found.plain, found.text) == (
        action, source, ports, ours, plain, text,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "allow udp 53 0.0.0.0/0 any 0.0.0.0/0 in",
        "route:allow tcp 1 0.0.0.0/0 any 0.0.0.0/0 in_a!out_b",
        "allow tcp 1 0.0.0.0/0 any 0.0.0.0/0 out",
        "allow tcp",
    ],
)
def test_ufw_rules_that_are_not_about_tcp_coming_in_are_passed_over(line: str) -> None:
    assert ufw(line).rules == ()


@given(st.text(), st.text(), st.text())
def test_no_ufw_file_makes_the_reader_fail(rules: str, loaded: str, comment: str) -> None:
    files = {
        **ON,
        "/etc/ufw/user.rules": f"### tuple ### {rules}\n### tuple ### allow tcp 1 any any any in comment={comment}",
    }
    assert firewall.parse(lines(files, ufw=loaded), {}).backend == "ufw"


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([rule("c", {"accept": None})], ()),
        ([rule("c", {"drop": None})], ((1, 65535),)),
        ([rule("c", dport(22), {"reject": {"type": "tcp reset"}})], ((22, 22),)),
        ([rule("c", dport({"set": [80, {"range": [100, 200]}]}), {"drop": None})], ((80, 80), (100, 200))),
        ([rule("c", dport("@ports"), {"drop": None})], ((1, 65535),)),
        ([rule("c", dport(53, "udp"), {"drop": None})], ()),
        ([rule("c", {"jump": {"target": "d"}}), rule("d", {"accept": None})], ()),
        ([rule("c", {"jump": {"target": "d"}}), rule("d", dport(5), {"drop": None})], ((5, 5),)),
        ([rule("c", dport(5), {"jump": {"target": "d"}}), rule("c", {"goto": {"target": "d"}}),
          rule("d", {"drop": None})],
         ((5, 5), (1, 65535))),
        ([rule("c", {"jump": {"target": "c"}})], ()),
        ([rule("c", {"xt": {"type": "match", "name": "limit"}}, {"xt": {"type": "target", "name": "REJECT"}})],
         ((1, 65535),)),
        ([rule("c", {"vmap": {"key": {}, "data": {"set": [[1, {"drop": None}]]}}})], ((1, 65535),)),
        ([rule("c", {"vmap": {"key": {}, "data": "@verdicts"}})], ((1, 65535),)),
        ([rule("c", {"drop": None}, comment="ollama-fleet")], ()),
    ],
)  # fmt: skip
def test_nftables_chains_are_known_by_what_they_may_refuse(
    rules: list[dict[str, Any]], refused: object
) -> None:
    state = nft({"name": "c"}, rules=rules)
    assert isinstance(state, NftablesState)
    assert state.refusing == ({"inet t c": refused} if refused else {})


@pytest.mark.parametrize("family", ["arp", "bridge", "netdev"])
def test_chains_of_families_that_see_no_ip_packets_are_left_out(family: str) -> None:
    assert nft({"name": "c", "family": family, "policy": "drop"}) == FirewallState("none")


def test_a_chain_whose_name_nft_itself_would_not_take_is_left_out() -> None:
    assert nft({"name": "c; flush ruleset", "policy": "drop"}) == FirewallState("none")


ZONE = """<?xml version="1.0"?><zone><rule priority="-32768" family="ipv4"><source address="10.0.0.0/24"/>
<port port="{opened}" protocol="tcp"/><accept/></rule>
<rule priority="{priority}"><port port="{closed}" protocol="tcp"/><drop/></rule></zone>"""


def firewalld(zones: Mapping[str, str], default: str = "public", nft: str = "") -> FirewalldState:
    files = {f"/etc/firewalld/zones/{name}.xml": text for name, text in zones.items()}
    files["/etc/firewalld/firewalld.conf"] = f"# about zones\nDefaultZone={default}\n"
    state = firewall.parse(lines(files, nft=nft) if nft else lines(files), RUNNING)
    assert isinstance(state, FirewalldState)
    return state


@pytest.mark.parametrize(
    ("opened", "closed", "priority", "ours"),
    [
        (11434, 11434, -32767, 2),
        (11434, 9, -32767, 1),
        (11434, 11434, -1, 0),
        ("11434-11435", 11434, -32767, 1),
    ],
)
def test_firewalld_openings_are_ours_beside_the_closing_rule_for_their_port(
    opened: object, closed: int, priority: int, ours: int
) -> None:
    state = firewalld({"public": ZONE.format(opened=opened, closed=closed, priority=priority)})
    assert len(state.rules) == 2
    assert sum(rule.ours for rule in state.rules) == ours


def test_firewalld_zones_in_use_are_the_default_those_bound_on_disk_and_those_in_the_kernel() -> None:
    def goto(zone: str, *match: dict[str, Any]) -> dict[str, Any]:
        place = {"family": "inet", "table": "firewalld", "chain": "filter_INPUT_ZONES"}
        return {"rule": place | {"expr": [*match, {"goto": {"target": f"filter_IN_{zone}"}}]}}

    source = {
        "match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.9"}
    }
    interface = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth1"}}
    opening = {
        "family": "inet",
        "table": "firewalld",
        "chain": "filter_IN_home_pre",
        "expr": [dport(11434), {"accept": None}],
    }
    kernel = [goto("drop", source), goto("work", interface), goto("public"), {"rule": opening}]
    state = firewalld(
        {
            "home": '<zone><interface name="tun0"/></zone>',
            "idle": "<zone/>",
            "x;y": '<zone><interface name="a"/></zone>',
        },
        default="home",
        nft=json.dumps({"nftables": [*kernel, goto("home")]}),
    )
    assert state.zones == ("home", "public", "work")
    assert state.refusing == {"drop": ("10.0.0.9/32",)}
    assert state.loaded is not None
    assert state.loaded["home"] == (LoadedRule("allow", "any", 11434),)


@pytest.mark.parametrize(
    "text", ["", "<zone", "<!DOCTYPE zone [<!ENTITY a '<interface name=\"x\"/>'>]><zone>&a;</zone>"]
)
def test_a_zone_that_cannot_be_read_has_no_rules(text: str) -> None:
    state = firewalld({"home": text})
    assert (state.rules, state.zones, state.loaded) == ((), ("public",), None)


@given(
    st.dictionaries(
        st.sampled_from(["family", "priority", "address", "port", "protocol", "invert"]),
        st.text(),
        max_size=4,
    ),
    st.lists(st.sampled_from(["source", "port", "accept", "drop", "service", "log"]), max_size=4),
)
def test_no_rich_rule_makes_the_reader_fail(attributes: dict[str, str], children: list[str]) -> None:
    from xml.sax.saxutils import quoteattr

    written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    inner = "".join(f"<{child} {written}/>" for child in children)
    state = firewalld({"public": f"<zone><rule {written}>{inner}</rule></zone>"})
    assert not any(rule.ours for rule in state.rules)


LEGACY = {
    "legacy-command": "iptables-legacy",
    "legacy-command6": "ip6tables-legacy",
    "legacy-rules": "-P INPUT DROP\n-P FORWARD ACCEPT\n-N OLLAMA-FLEET\n-A INPUT -j OLLAMA-FLEET\n"
    "-A INPUT -i lo -j ACCEPT\n-A OLLAMA-FLEET -i lo -j RETURN\n-A OLLAMA-FLEETING -j DROP\n",
}
STANDING = {"ollama-fleet-firewall.service": {"ActiveState": "active"}}


def test_legacy_tables_are_read_by_family() -> None:
    state = firewall.parse(lines(**LEGACY), {})
    assert isinstance(state, IptablesState)
    assert state.tables == {
        4: LegacyTable(
            "iptables-legacy", "DROP", ("-j OLLAMA-FLEET", "-i lo -j ACCEPT"), ("-i lo -j RETURN",)
        ),
        6: LegacyTable("ip6tables-legacy"),
    }


@pytest.mark.parametrize(
    ("listed", "kept", "units", "found"),
    [
        ("-P INPUT ACCEPT\n-P FORWARD DROP\n", False, STANDING, "none"),
        ("-P INPUT ACCEPT\n-P FORWARD DROP\n", True, {}, "none"),
        ("-P INPUT ACCEPT\n", True, STANDING, "iptables"),
        ("-P INPUT DROP\n", False, {}, "iptables"),
        ("-P INPUT ACCEPT\n-A INPUT -j f2b\n", False, {}, "iptables"),
        ("-P INPUT ACCEPT\n-N OLLAMA-FLEET\n", False, {}, "iptables"),
    ],
)
def test_legacy_tables_count_where_they_do_something_or_our_unit_has_loaded_rules(
    listed: str, kept: bool, units: Mapping[str, Mapping[str, str]], found: str
) -> None:
    texts = {**LEGACY, "legacy-rules": listed, **({"legacy-kept": ""} if kept else {})}
    assert firewall.parse(lines(**texts), units).backend == found


def test_nftables_stands_beside_the_legacy_tables_only_where_it_refuses() -> None:
    """An empty chain, left behind by somebody who looked, makes no firewall of it."""

    def beside(policy: str, **units: str) -> NftablesState | None:
        chain = {
            "family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input",
            "prio": 0, "policy": policy,
        }  # fmt: skip
        ruleset = json.dumps({"nftables": [{"chain": chain}]})
        state = firewall.parse(
            lines(**LEGACY, nft=ruleset), {f"{k}.service": {"ActiveState": v} for k, v in units.items()}
        )
        assert isinstance(state, IptablesState)
        return state.beside

    assert beside("accept") is None
    assert beside("accept", nftables="active") is not None
    there = beside("drop")
    assert there is not None
    assert there.chains([1]) == ("ip filter INPUT",)


def test_what_a_firewall_must_not_cut_is_read() -> None:
    """ss names addresses with an interface, in brackets, or as a star; loopback does not count."""
    told = """\
LISTEN 0 128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=1,fd=3))
LISTEN 0 128             [::]:22           [::]:*    users:(("sshd",pid=1,fd=4))
LISTEN 0 128                *:80              *:*    users:(("nginx",pid=2,fd=4),("nginx",pid=3,fd=4))
LISTEN 0 128   10.0.0.1%eth0:53        0.0.0.0:*
LISTEN 0 128        127.0.0.1:631       0.0.0.0:*    users:(("cupsd",pid=4,fd=3))
LISTEN 0 128            [::1]:631          [::]:*    users:(("cupsd",pid=4,fd=4))
nonsense
"""
    state = firewall.parse(lines(ssh="::ffff:10.0.0.5 50000 ::ffff:10.0.0.1 2222\n", listeners=told), {})
    assert state.contact == Contact("10.0.0.5", 2222)
    assert state.listeners == (Listener(22, "sshd"), Listener(53, ""), Listener(80, "nginx"))
    assert state.ssh_ports == (22, 2222)


@pytest.mark.parametrize("told", ["", "\n", "a b c d", "10.0.0.5 1 10.0.0.1"])
def test_a_machine_that_is_not_reached_by_ssh_has_no_contact(told: str) -> None:
    assert firewall.parse(lines(ssh=told), {}).contact is None


def test_firewalls_that_are_installed_and_off_are_kept_with_their_rules() -> None:
    files = {
        **ON,
        "/etc/ufw/ufw.conf": "ENABLED=no\n",
        "/etc/ufw/user.rules": "### tuple ### deny tcp 22 0.0.0.0/0 any 10.0.0.5 in\n",
    }
    installed = {"installed-ufw": "", "installed-firewall-offline-cmd": "", "installed-nft": ""}
    state = firewall.parse(lines(files, **installed), {})
    assert state.backend == "none"
    assert [one.backend for one in state.off] == ["ufw", "firewalld", "nftables"]
    assert [rule.source for rule in state.off[0].rules] == ["10.0.0.5/32"]
    assert firewall.parse(lines(files, **installed), RUNNING).off == ()


@pytest.mark.parametrize(
    ("policy", "service", "off"),
    [("accept", "inactive", True), ("accept", "active", False), ("drop", "inactive", False)],
)
def test_chains_that_let_all_in_do_not_keep_a_firewall_from_being_switched_on(
    policy: str, service: str, off: bool
) -> None:
    """ufw leaves them behind, and Docker makes them; without being asked ours go beside them, as ever."""
    chain = {
        "family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input",
        "prio": 0, "policy": policy,
    }  # fmt: skip
    told = lines(ON | {"/etc/ufw/ufw.conf": "ENABLED=no\n"}, nft=json.dumps({"nftables": [{"chain": chain}]}))
    state = firewall.parse(
        [*told, "installed-ufw", "installed-nft"], {"nftables.service": {"ActiveState": service}}
    )
    assert state.active
    assert [one.backend for one in state.off] == (["ufw", "nftables"] if off else [])
