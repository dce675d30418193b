"""ufw: whose rule is whose, and the ways in which ufw itself can be set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converge.firewall_support import PORT, Firewalls, booted, listen, reached
from lab import Host, Lab
from lab.fixtures import BootHost

pytestmark = pytest.mark.lab

MARK = "comment ollama-fleet"


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    return Firewalls(lab, tmp_path_factory.mktemp("ufw"))


@pytest.fixture(scope="module")
def host(lab: Lab, firewalls: Firewalls) -> Iterator[Host]:
    with booted(lab, {"ufw-set": {"firewall": "ufw"}}) as (host,):
        assert firewalls.apply(host)
        yield host


def numbered(host: Host) -> list[str]:
    """The rules as ufw counts them, without the numbers."""
    lines = host.run("ufw status numbered").stdout.splitlines()
    return [" ".join(line.split("]", 1)[1].split()) for line in lines if line.startswith("[")]


def test_rules_of_others_stay_even_with_our_name_on_them(host: Host, firewalls: Firewalls) -> None:
    """A rule by application cannot be ours; deleting it by its port would take away the rule for SSH."""
    host.run(f"ufw allow OpenSSH {MARK}; ufw allow {PORT}/udp {MARK}; ufw allow from 10.1.1.1")
    rules = numbered(host)
    assert not firewalls.apply(host)
    assert numbered(host) == rules
    assert "22/tcp ALLOW IN Anywhere" in rules


def test_a_rule_of_somebody_else_that_does_what_is_wanted_is_enough(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    """It is not taken over, so it stays when ours go."""
    host.run(f"ufw allow from 10.7.0.0/16 to any port {PORT} proto tcp")
    rules = numbered(host)
    assert not firewalls.apply(host, sources=[*lab.lan_cidrs, "10.7.0.0/16"])
    assert numbered(host) == rules
    assert f"{PORT}/tcp ALLOW IN 10.7.0.0/16" in rules


def test_a_ufw_that_lets_everybody_in_gets_a_closing_rule_at_the_end(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    """Also when networks are added later; and it goes when ufw refuses by itself again."""
    host.run("ufw default allow incoming")
    assert reached(host, lab.outside) == [4, 6]
    assert firewalls.apply(host)
    assert reached(host) == [4, 6]
    assert reached(host, lab.outside) == []
    assert firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")])
    assert reached(host, lab.office) == [4, 6]
    assert reached(host, lab.outside) == []
    assert not firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")], dry=True)
    host.run("ufw default deny incoming")
    assert firewalls.apply(host)
    assert not [rule for rule in numbered(host) if "DENY" in rule and "ollama-fleet" in rule]
    assert reached(host, lab.outside) == []


def test_a_ufw_without_ipv6_takes_the_ipv4_rules(host: Host, firewalls: Firewalls) -> None:
    """ufw refuses all IPv6 then, so there is nothing to be said about it."""
    host.run("sed -i s/IPV6=yes/IPV6=no/ /etc/default/ufw && ufw reload")
    host.run(f"ufw delete allow from 10.7.0.0/16 to any port {PORT} proto tcp")
    firewalls.apply(host)
    assert reached(host) == [4]
    assert not firewalls.apply(host, dry=True)


def test_a_ufw_that_is_not_running_is_left_alone(host: Host, firewalls: Firewalls) -> None:
    host.run("systemctl stop ufw")
    files = [host.read(f"/etc/ufw/{name}") for name in ("ufw.conf", "user.rules", "user6.rules")]
    assert not firewalls.apply(host, sources=[])
    assert [host.read(f"/etc/ufw/{name}") for name in ("ufw.conf", "user.rules", "user6.rules")] == files


def test_what_nftables_was_told_goes_when_ufw_takes_over(
    lab: Lab, firewalls: Firewalls, new_host: BootHost
) -> None:
    """A table of ours would go on shutting out whoever is allowed later."""
    host = new_host(firewall="nftables")
    listen(host)
    assert firewalls.apply(host)
    host.run("systemctl disable --now nftables; ufw allow 22/tcp; ufw --force enable")
    assert firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")])
    assert "ollama" not in host.run("nft list tables").stdout
    assert reached(host, lab.office) == [4, 6]
    assert reached(host, lab.outside) == []
    assert not firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")], dry=True)
    host.write("/etc/systemd/system/ollama-fleet-firewall.service", "[Service]\nExecStart=/bin/true\n")
    assert firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")])
    assert not host.exists("/etc/systemd/system/ollama-fleet-firewall.service")
