"""The legacy tables of iptables: flushes, reloads, nftables beside them, and another firewall that takes over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converge.firewall_support import OTHER_PORT, PORT, Firewalls, booted, everything, reached
from converge.test_firewall_nftables import eventually
from lab import Host, Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    return Firewalls(lab, tmp_path_factory.mktemp("iptables"))


@pytest.fixture(scope="module")
def host(lab: Lab, firewalls: Firewalls) -> Iterator[Host]:
    with booted(lab, {"ipt-set": {"firewall": "iptables"}}) as (host,):
        assert firewalls.apply(host)
        yield host


def incoming(host: Host) -> list[str]:
    return host.run("iptables -S INPUT; ip6tables -S INPUT").stdout.splitlines()


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_rules_come_back_when_the_hosts_own_are_loaded_anew(
    verb: str, host: Host, firewalls: Firewalls
) -> None:
    right = everything(host)
    host.run(f"systemctl {verb} iptables.service")
    eventually(lambda: everything(host) == right)
    assert not firewalls.apply(host, dry=True)


def test_what_others_put_before_ours_matters_only_if_it_could_decide(
    host: Host, firewalls: Firewalls
) -> None:
    """Such as the chain that fail2ban asks first about SSH, which nobody should have to fight with."""
    host.run("iptables -N f2b-sshd; iptables -I INPUT -p tcp -m multiport --dports 22,80 -j f2b-sshd")
    before = incoming(host)
    assert not firewalls.apply(host)
    assert incoming(host) == before
    host.run("iptables -I INPUT -p tcp -m multiport --dports 22,11000:12000 -j f2b-sshd")
    assert firewalls.apply(host)
    assert incoming(host)[1] == "-A INPUT -j OLLAMA-FLEET"
    assert not firewalls.apply(host, dry=True)


def test_several_ports_and_those_that_nobody_uses_any_more(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    assert firewalls.apply(host, port=[PORT, OTHER_PORT])
    assert [reached(host, port=port) for port in (PORT, OTHER_PORT)] == [[4, 6], [4, 6]]
    assert [reached(host, lab.outside, port) for port in (PORT, OTHER_PORT)] == [[], []]
    assert firewalls.apply(host, port=[PORT])
    assert [reached(host, port=port) for port in (PORT, OTHER_PORT)] == [[4, 6], []]


def test_a_flush_of_everything_does_not_open_the_port_for_long(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    """Nothing of a firewall is left then but our unit, which says that rules belong there."""
    host.run("for six in '' 6; do ip${six}tables -P INPUT ACCEPT; ip${six}tables -F; ip${six}tables -X; done")
    assert reached(host, lab.outside) == [4, 6]
    assert firewalls.apply(host, dry=True)
    assert firewalls.apply(host)
    assert reached(host) == [4, 6]
    assert reached(host, lab.outside) == []
    host.run("systemctl restart iptables.service")
    eventually(lambda: incoming(host)[1] == "-A INPUT -j OLLAMA-FLEET")


def test_where_nftables_refuses_as_well_both_let_in(host: Host, firewalls: Firewalls, lab: Lab) -> None:
    host.run("iptables-nft -P INPUT DROP; iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT")
    assert reached(host) == [6]
    assert firewalls.apply(host)
    assert reached(host) == [4, 6]
    assert reached(host, lab.outside) == []
    assert not firewalls.apply(host, dry=True)
    assert firewalls.apply(host, present=False)
    assert "ollama" not in host.run("nft list ruleset; iptables -S; ip6tables -S").stdout.lower()
    assert firewalls.apply(host)
    assert reached(host) == [4, 6]
    host.run("iptables-nft -P INPUT ACCEPT; iptables-nft -F; nft flush ruleset")
    assert firewalls.apply(host)
    assert not firewalls.apply(host, dry=True)


def test_it_goes_when_ufw_takes_over(host: Host, firewalls: Firewalls, lab: Lab) -> None:
    host.run("systemctl disable --now iptables.service; ufw allow 22/tcp; ufw --force enable")
    assert firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")])
    assert "OLLAMA-FLEET" not in host.run("iptables -S; ip6tables -S").stdout
    assert not host.exists("/etc/systemd/system/ollama-fleet-firewall.service")
    assert reached(host, lab.office) == [4, 6]
    assert reached(host, lab.outside) == []
    assert not firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")], dry=True)
