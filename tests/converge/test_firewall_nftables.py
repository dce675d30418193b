"""nftables: the many shapes of a host's own ruleset, and what becomes of ours when it is loaded anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from converge.firewall_support import PORT, Firewalls, booted, reached
from lab import Host, Lab

pytestmark = pytest.mark.lab

OWN = "inet ollama_fleet input"


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    return Firewalls(lab, tmp_path_factory.mktemp("nftables"))


@pytest.fixture(scope="module")
def host(lab: Lab, firewalls: Firewalls) -> Iterator[Host]:
    with booted(lab, {"nft-set": {"firewall": "nftables"}}) as (host,):
        assert firewalls.apply(host)
        yield host


def ruleset(host: Host) -> str:
    return host.run("nft list ruleset").stdout


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_rules_come_back_when_the_hosts_own_are_loaded_anew(
    verb: str, host: Host, firewalls: Firewalls
) -> None:
    right = ruleset(host)
    host.run(f"systemctl {verb} nftables.service")
    eventually(lambda: ruleset(host) == right)
    assert not firewalls.apply(host, dry=True)


def test_chains_of_every_family_get_openings_and_only_those_that_may_refuse(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    """Tables that iptables made, jumps to chains that refuse; and chains that cannot refuse this port."""
    host.run(
        "iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j ACCEPT;"
        "ip6tables -N ELSE; ip6tables -A INPUT -j ELSE; ip6tables -A ELSE -p ipv6-icmp -j ACCEPT;"
        "ip6tables -A ELSE -j REJECT;"
        "nft 'table inet f2b { set bad { type ipv4_addr; }; chain c { type filter hook input priority -1;"
        "  tcp dport 22 ip saddr @bad reject; udp dport 1-65535 ip saddr @bad drop; }; };"
        "table inet polite { chain c { type filter hook input priority 1; jump d; }; chain d { accept; }; };"
        "table arp a { chain c { type filter hook input priority 0; policy accept; arp htype 2 drop; }; };"
        "table bridge b { chain c { type filter hook input priority 0; policy accept; ip saddr 9.9.9.9 drop; }; }'",
        check=True,
    )
    untouched = [
        host.run(f"nft list table {name}").stdout for name in ("inet f2b", "inet polite", "arp a", "bridge b")
    ]
    assert reached(host) == []
    assert firewalls.apply(host)
    assert reached(host) == [4, 6]
    assert reached(host, lab.outside) == []
    assert untouched == [
        host.run(f"nft list table {name}").stdout for name in ("inet f2b", "inet polite", "arp a", "bridge b")
    ]
    assert f"--dport {PORT} -m comment --comment ollama-fleet -j ACCEPT" in host.run("iptables-save").stdout
    assert not firewalls.apply(host, dry=True)


def test_the_script_passes_over_chains_that_have_gone(host: Host, firewalls: Firewalls) -> None:
    """So that a boot with another configuration still loads the rest."""
    host.run(
        "iptables -P INPUT ACCEPT; iptables -F; nft delete table ip filter; sh /var/lib/ollama-fleet/firewall.sh"
    )
    assert f"tcp dport {PORT} drop" in host.run(f"nft list chain {OWN}").stdout
    assert firewalls.apply(host)
    assert not firewalls.apply(host, dry=True)


def eventually(true: Callable[[], bool]) -> None:
    """Wait for what systemd does after `systemctl` has returned: units that follow another one's job."""
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("not within 10 s")
