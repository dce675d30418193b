"""Ways to lose a host by its firewall, tried on purpose: after each, a new SSH connection comes in.

At the latest it does so when the host has ended by itself what nobody confirmed.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from converge.conftest import MakeFleet
from converge.firewall_support import Firewalls, booted, reached
from lab import Host, Lab

pytestmark = pytest.mark.lab

GIVES_UP = 120
"""Seconds within which a host that nobody confirms is open again; 45 of its own, and a slow machine's."""


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[dict[str, Host]]:
    with booted(lab, {"ssh-a": {}, "ssh-b": {}, "ssh-c": {}}) as hosts:
        yield {host.name: host for host in hosts}


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    return Firewalls(lab, tmp_path_factory.mktemp("ssh"), frozenset({"ssh-b"}))


@pytest.fixture(scope="module")
def a(hosts: dict[str, Host]) -> Host:
    """Where ufw is tried, as root."""
    return hosts["ssh-a"]


@pytest.fixture(scope="module")
def b(hosts: dict[str, Host]) -> Host:
    """Where firewalld is tried, through sudo; for it ufw is not installed."""
    hosts["ssh-b"].run("mv /usr/sbin/ufw /usr/sbin/ufw.away")
    return hosts["ssh-b"]


@pytest.fixture(scope="module")
def c(hosts: dict[str, Host]) -> Host:
    """Where neither is installed."""
    hosts["ssh-c"].run("mv /usr/sbin/ufw /usr/sbin/ufw.away; mv /usr/bin/firewall-offline-cmd /usr/bin/away")
    return hosts["ssh-c"]


def comes_in(lab: Lab, host: Host, *, port: int = 22, address: str | None = None) -> bool:
    """Whether a new SSH connection gets as far as a shell."""
    done = subprocess.run(
        [
            "ssh", "-F", "none", "-i", str(lab.key), "-o", f"UserKnownHostsFile={lab.known_hosts}",
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5", "-p", str(port),
            f"root@{address or host.address}", "true",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode == 0


def comes_back(lab: Lab, host: Host) -> bool:
    until = time.monotonic() + GIVES_UP
    while time.monotonic() < until:
        if comes_in(lab, host):
            return True
        time.sleep(1)
    return False


def ufw_off(host: Host) -> None:
    host.run("ufw --force reset; ufw --force disable")


def is_on(host: Host) -> bool:
    return "Status: active" in host.run("ufw status").stdout


def test_the_port_of_ssh_is_not_ours(lab: Lab, a: Host, make_fleet: MakeFleet) -> None:
    """1: written in the file; 2: another one on which sshd listens too, which only the host knows."""
    fleet = make_fleet(
        {
            "defaults": {"listen": "[::]:22", "firewall": {"allow_from": lab.cidrs("office")}},
            "hosts": {a.name: {"address": a.address}},
        },
        locked=False,
    )
    refused = fleet.drift()
    assert refused.code == 1
    assert "port 22 is that of SSH; write another port" in refused.stdout + refused.stderr
    a.run("printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/ports.conf; systemctl restart ssh")
    fleet.change(defaults={"listen": "[::]:2222"})
    fleet.lock()
    (host,) = fleet.drift().document["hosts"].values()
    assert host["error"].endswith("port 2222 is where sshd listens; choose another port for Ollama")
    assert comes_in(lab, a, port=2222)


def test_an_operation_does_not_close_the_port_of_ssh(lab: Lab, c: Host, firewalls: Firewalls) -> None:
    """3: the operation by itself, in a deploy of one's own."""
    said = firewalls.refused(c, port=22, sources=lab.cidrs("office"), enabled=True)
    assert "port 22 is where sshd listens" in said
    assert comes_in(lab, c)


def test_ufw_is_switched_on_with_sshd_at_another_port_and_a_controller_that_may_not_use_ollama(
    lab: Lab, a: Host, firewalls: Firewalls
) -> None:
    """4: ufw knows only of port 22; 5: the networks that may come in are others."""
    ufw_off(a)
    a.run("ufw allow 22/tcp")
    asked: dict[str, Any] = {"sources": lab.cidrs("office"), "enabled": True, "ssh_port": 2222}
    assert firewalls.apply(a, dry=True, **asked)
    assert not is_on(a)
    assert firewalls.apply(a, **asked)
    assert is_on(a)
    assert comes_in(lab, a, port=2222)
    assert comes_in(lab, a)
    assert (reached(a), reached(a, lab.office)) == ([], [4, 6])
    assert not a.exists("/etc/systemd/system/ollama-fleet-firewall-trial.service")
    assert not firewalls.apply(a, **asked)
    a.reboot()
    assert is_on(a)
    assert comes_in(lab, a, port=2222)


def test_a_connection_by_ipv6_is_let_in_by_ipv6_or_nothing_is_switched_on(
    lab: Lab, a: Host, firewalls: Firewalls
) -> None:
    """6: with and without IPv6 in ufw."""
    ufw_off(a)
    a.run("sed -i s/IPV6=yes/IPV6=no/ /etc/default/ufw")
    asked: dict[str, Any] = {"enabled": True, "address": a.address6}
    said = firewalls.refused(a, **asked)
    assert "would cut this connection: it keeps no IPv6 rules (IPV6=no in /etc/default/ufw)" in said
    a.run("sed -i s/IPV6=no/IPV6=yes/ /etc/default/ufw")
    assert comes_in(lab, a, address=a.address6)
    assert firewalls.apply(a, **asked)
    assert is_on(a)
    assert comes_in(lab, a, address=a.address6)
    assert comes_in(lab, a)


def test_a_rule_that_refuses_the_controller_is_seen_before(lab: Lab, a: Host, firewalls: Firewalls) -> None:
    """7: somebody's own, before the one that lets SSH in."""
    ufw_off(a)
    a.run(f"ufw deny from {lab.lan_cidrs[0]}; ufw allow 22/tcp")
    said = firewalls.refused(a, enabled=True)
    assert f"would cut this connection: deny in from {lab.lan_cidrs[0]} to any; remove that rule" in said
    assert not is_on(a)
    assert comes_in(lab, a)


def test_firewalld_is_switched_on_only_with_ssh_let_in(lab: Lab, b: Host, firewalls: Firewalls) -> None:
    """8: the controller is in a zone that drops; 9: the zone of all others has no service ssh."""
    b.run(f"firewall-offline-cmd --zone=drop --add-source={lab.lan_cidrs[0]}")
    said = firewalls.refused(b, enabled=True)
    assert "would cut this connection: its zone drop refuses" in said
    b.run(
        f"firewall-offline-cmd --zone=drop --remove-source={lab.lan_cidrs[0]};"
        "firewall-offline-cmd --zone=public --remove-service-from-zone=ssh"
    )
    assert comes_in(lab, b)
    assert firewalls.apply(b, enabled=True)
    assert b.run("firewall-cmd --state").stdout.strip() == "running"
    assert comes_in(lab, b)
    assert reached(b) == [4, 6]
    assert reached(b, lab.outside) == []
    assert not firewalls.apply(b, enabled=True)


def test_where_nothing_is_installed_only_our_ports_are_closed(
    lab: Lab, c: Host, firewalls: Firewalls
) -> None:
    """10: a table of our own, and a flush of all there is."""
    assert firewalls.apply(c, enabled=True)
    assert comes_in(lab, c)
    assert reached(c) == [4, 6]
    assert reached(c, lab.outside) == []
    c.run("nft flush ruleset")
    assert comes_in(lab, c)
    assert firewalls.apply(c, enabled=True)
    assert reached(c, lab.outside) == []


def test_legacy_tables_that_refuse_go_on_letting_ssh_in(lab: Lab, c: Host, firewalls: Firewalls) -> None:
    """11: nobody's rules but the policy and one for SSH; ours stand before it."""
    for command, icmp in (("iptables-legacy", "icmp"), ("ip6tables-legacy", "ipv6-icmp")):
        c.run(
            f"{command} -A INPUT -p tcp --dport 22 -j ACCEPT; {command} -A INPUT -p {icmp} -j ACCEPT;"
            f"{command} -P INPUT DROP"
        )
    assert firewalls.apply(c)
    assert comes_in(lab, c)
    assert reached(c) == [4, 6]


def test_contact_that_is_lost_comes_back_by_itself(lab: Lab, a: Host, b: Host, firewalls: Firewalls) -> None:
    """12: rules that nobody could foresee cut the controller off; 13: it is killed before it has confirmed."""
    ufw_off(a)
    before = a.read("/etc/ufw/before.rules")
    cut = f"\n-I ufw-before-input 1 -s {lab.lan_cidrs[0]} -j DROP\nCOMMIT\n"
    a.write("/etc/ufw/before.rules", before.replace("\nCOMMIT\n", cut, 1))
    b.run("systemctl disable --now firewalld")
    slow = "[Service]\nExecStartPost=/bin/sleep 5\n"
    b.run("mkdir -p /etc/systemd/system/firewalld.service.d")
    b.write("/etc/systemd/system/firewalld.service.d/slow.conf", slow)
    b.run("systemctl daemon-reload")
    with firewalls.running(b, enabled=True) as killed:
        until = time.monotonic() + 60
        while not b.exists("/var/lib/ollama-fleet/firewall-trial.sh.begun") and time.monotonic() < until:
            time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
    said = firewalls.refused(a, enabled=True)
    # Which of the two depends on when the last attempt to come in ended.
    assert "contact was lost when ufw was switched on" in said or "no contact was proved in time" in said
    for host in (a, b):
        assert comes_back(lab, host)
    assert not is_on(a)
    until = time.monotonic() + GIVES_UP
    while b.exists("/etc/systemd/system/ollama-fleet-firewall-trial.service") and time.monotonic() < until:
        time.sleep(1)
    assert b.run("systemctl is-active firewalld", check=False).stdout.strip() == "inactive"
    a.write("/etc/ufw/before.rules", before)
    assert firewalls.apply(a, enabled=True)
    assert comes_in(lab, a)


def test_a_reboot_in_the_middle_ends_the_trial(lab: Lab, a: Host, firewalls: Firewalls) -> None:
    """14: nobody is left who would confirm."""
    ufw_off(a)
    a.write("/etc/ufw/before.init", '#!/bin/sh\n[ "$1" != start ] || sleep 5\n')
    a.run("chmod +x /etc/ufw/before.init")
    with firewalls.running(a, enabled=True) as killed:
        until = time.monotonic() + 60
        while not a.exists("/var/lib/ollama-fleet/firewall-trial.sh.begun") and time.monotonic() < until:
            time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
    a.stop()
    a.start()
    until = time.monotonic() + GIVES_UP
    while a.exists("/etc/systemd/system/ollama-fleet-firewall-trial.service") and time.monotonic() < until:
        time.sleep(1)
    assert not is_on(a)
    assert comes_in(lab, a)
