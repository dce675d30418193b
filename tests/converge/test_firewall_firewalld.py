"""firewalld: the running rules and those on disk, zones that come and go, and zones that are there to refuse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converge.firewall_support import PORT, Firewalls, booted, everything, reached
from lab import Host, Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    return Firewalls(lab, tmp_path_factory.mktemp("firewalld"))


@pytest.fixture(scope="module")
def host(lab: Lab, firewalls: Firewalls) -> Iterator[Host]:
    with booted(lab, {"fwd-set": {"firewall": "firewalld"}}) as (host,):
        assert firewalls.apply(host)
        yield host


def test_what_others_open_stays_and_lets_nobody_in(host: Host, firewalls: Firewalls, lab: Lab) -> None:
    host.run(f"firewall-cmd --permanent --add-port={PORT}/tcp; firewall-cmd --reload")
    opened = everything(host)
    assert not firewalls.apply(host)
    assert reached(host, lab.outside) == []
    assert reached(host) == [4, 6]
    assert everything(host) == opened


def test_a_zone_that_comes_into_use_gets_the_rules_and_keeps_them(
    host: Host, firewalls: Firewalls, lab: Lab
) -> None:
    """Even one that accepts all, and even if only the running firewall knows of it; nothing flaps when it goes."""
    host.run("firewall-cmd --zone=trusted --change-interface=outside")
    assert reached(host, lab.outside) == [4, 6]
    assert firewalls.apply(host)
    assert reached(host, lab.outside) == []
    assert not firewalls.apply(host, dry=True)
    host.run("firewall-cmd --zone=trusted --remove-interface=outside")
    assert not firewalls.apply(host, dry=True)
    assert firewalls.apply(host, present=False)
    assert "32768" not in host.run("cat /etc/firewalld/zones/*.xml").stdout
    assert firewalls.apply(host)


def test_sources_in_a_zone_that_refuses_stay_shut_out(host: Host, firewalls: Firewalls, lab: Lab) -> None:
    """Whoever was banned is not let in again because their network is allowed."""
    host.run(f"firewall-cmd --zone=drop --add-source={lab.office.address}/32")
    assert firewalls.apply(host, sources=[*lab.lan_cidrs, *lab.cidrs("office")])
    assert reached(host, lab.office) == [6]
    assert firewalls.apply(host)


def test_rules_of_ours_for_another_port_go_and_those_of_others_with_our_priority_stay(
    host: Host, firewalls: Firewalls
) -> None:
    """Only beside the closing rule for its port is an opening known as ours."""
    theirs = 'rule priority="-32768" family="ipv4" port port="25" protocol="tcp" accept'
    host.run(f"firewall-cmd --permanent --add-rich-rule='{theirs}'; firewall-cmd --add-rich-rule='{theirs}'")
    assert not firewalls.apply(host)
    assert firewalls.apply(host, port=PORT + 1)
    rules = host.run("firewall-cmd --list-rich-rules; firewall-cmd --permanent --list-rich-rules").stdout
    assert rules.count(theirs) == 2
    assert f'port="{PORT}"' not in rules
