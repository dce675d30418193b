"""The ports of several servers, in every firewall: each open to whom it should be, and shut once its server is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from converge.firewall_support import OTHER_PORT, PORT, Firewalls, booted, everything, reached
from lab import Host, Lab
from lab.client import Client

pytestmark = pytest.mark.lab

BOTH = [PORT, OTHER_PORT]


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[list[Host]]:
    with booted(
        lab,
        {
            "ports-ufw": {"firewall": "ufw"},
            "ports-nft": {"firewall": "nftables"},
            "ports-fwd": {"firewall": "firewalld"},
            "ports-ipt": {"firewall": "iptables"},
        },
    ) as hosts:
        yield hosts


def open_to(hosts: Sequence[Host], client: Client | None, patience: float = 1) -> list[list[int]]:
    """Of each host the ports that a client reaches by IPv4 and IPv6; by one of them alone is a fault."""
    asked = [(host, port) for host in hosts for port in BOTH]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda pair: reached(pair[0], client, pair[1], patience), asked))
    assert all(versions in ([], [4, 6]) for versions in found), found
    return [
        [port for (at, port), versions in zip(asked, found, strict=True) if versions and at is host]
        for host in hosts
    ]


def test_ports_that_come_and_go(
    hosts: list[Host], lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    firewalls = Firewalls(lab, tmp_path_factory.mktemp("firewalls"))
    names = {host.name for host in hosts}
    before = [everything(host) for host in hosts]
    assert open_to(hosts, None) == [[]] * len(hosts)

    assert firewalls.apply(*hosts, port=BOTH) == names
    assert open_to(hosts, None, patience=10) == [BOTH] * len(hosts)
    assert open_to(hosts, lab.office) == [[]] * len(hosts)
    assert firewalls.apply(*hosts, port=[OTHER_PORT, PORT]) == set()

    # One server goes: its port is shut, and no rule names it any more.
    assert firewalls.apply(*hosts, port=[PORT]) == names
    assert open_to(hosts, None, patience=5) == [[PORT]] * len(hosts)
    assert not [line for host in hosts for line in everything(host) if str(OTHER_PORT) in line]

    assert firewalls.apply(*hosts, present=False) == names
    assert open_to(hosts, None) == [[]] * len(hosts)
    assert [everything(host) for host in hosts] == before
