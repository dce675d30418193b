"""The table of who gets in through the front door, behind each of the firewalls."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import combinations

import pytest

from converge.conftest import MakeFleet
from converge.door_table import ALICE, EVERYTHING, NETWORKS, OPS, wrongly_let_in
from converge.front_door import FrontDoor
from lab import Lab
from lab.outfit import HostOptions

pytestmark = pytest.mark.lab

SAMPLE, SEED = 12, 20240924
HOSTS: Mapping[str, HostOptions] = {
    "door-nft": {"firewall": "nftables"},
    "door-fwd": {"firewall": "firewalld"},
    "door-ipt": {"firewall": "iptables"},
}
"""ufw has the whole table in the tests of the front door itself."""
CHOICES = [choice for size in (1, 2, 3) for choice in combinations(NETWORKS, size)]


@pytest.fixture(scope="module")
def doors(lab: Lab, make_fleet: MakeFleet) -> Iterator[dict[str, FrontDoor]]:
    """One front door behind each firewall, in one fleet."""
    hosts = lab.hosts(HOSTS)
    fleet = make_fleet(
        {
            "defaults": {
                "access": {"tokens": {"alice": "env:ALICE_TOKEN"}, "admin_tokens": {"ops": "env:OPS_TOKEN"}}
            },
            "hosts": {host.name: {"address": host.address} for host in hosts},
        }
    )
    fleet.environment |= {"ALICE_TOKEN": ALICE, "OPS_TOKEN": OPS}
    yield {host.name: FrontDoor(fleet, host, lab) for host in hosts}
    for host in hosts:
        lab.remove(host)


def allow(doors: Mapping[str, FrontDoor], allowed: Mapping[str, tuple[str, ...]]) -> None:
    """Open each host's door to these networks."""
    door = next(iter(doors.values()))
    door.fleet.change(
        hosts={
            name: {
                "firewall": {"allow_from": [cidr for network in networks for cidr in door.lab.cidrs(network)]}
            }
            for name, networks in allowed.items()
        }
    )
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)


def test_who_gets_in(doors: dict[str, FrontDoor]) -> None:
    """Some of the table; to one host those who deploy cannot come in themselves."""
    allowed = {"door-nft": ("lan", "outside"), "door-fwd": ("office",), "door-ipt": ("lan", "office")}
    allow(doors, allowed)
    choose = random.Random(SEED)
    with ExitStack() as recordings:
        for door in doors.values():
            recordings.enter_context(door.recording())
        for name, networks in allowed.items():
            assert wrongly_let_in(doors[name], networks, choose.sample(EVERYTHING, SAMPLE)) == [], name


@pytest.fixture(scope="module")
def all_doors(doors: dict[str, FrontDoor], lab: Lab) -> Iterator[dict[str, FrontDoor]]:
    """ufw's too."""
    door = next(iter(doors.values()))
    host = lab.host("door-ufw", firewall="ufw")
    door.fleet.change(hosts={host.name: {"address": host.address}})
    yield {**doors, host.name: FrontDoor(door.fleet, host, lab)}
    door.fleet.document["hosts"].pop(host.name)
    door.fleet.write()
    lab.remove(host)


@pytest.mark.soak
@pytest.mark.parametrize("allowed", CHOICES)
def test_who_gets_in_behind_every_firewall(all_doors: dict[str, FrontDoor], allowed: tuple[str, ...]) -> None:
    """The whole table, for every choice of networks that may come in."""
    allow(all_doors, dict.fromkeys(all_doors, allowed))
    for name, door in all_doors.items():
        with door.recording():
            assert wrongly_let_in(door, allowed) == [], name
