"""What people see while an apply runs and at its end, on real terminals and in pipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from converge.fleet_directory import FleetDirectory
from converge.terminal import Terminal
from faults.conftest import MakeFleet, Shelf
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

APPLY = ("-y", "inventory/hosts.py", "deploy.py")
SLOW = 300_000
"""Bytes per second; the big model has 2.5 million."""


@dataclass
class Pair:
    """A host whose pulls are slow, and one that can be told to fail."""

    lab: Lab
    shelf: Shelf
    fleet: FleetDirectory
    slow: Host
    other: Host

    def ask_for(self, name: str, hosts: list[str]) -> None:
        """Ask for the big model under another name, which each host pulls if it has lost it."""
        self.fleet.change(
            models={name: {"from": self.shelf.big, "num_ctx": 64, "num_gpu": 0}},
            groups={"more": {"hosts": hosts, "models": [name]}},
        )
        self.fleet.lock()

    def forget_big(self) -> None:
        """Take the big model and all that was made of it off the hosts again."""
        self.fleet.change(groups={"more": {"models": []}})


@pytest.fixture(scope="module")
def pair(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> Iterator[Pair]:
    slow, other = lab.hosts({"slow": {}, "other": {}})
    slow.write("/etc/ollama-sim.json", json.dumps({"pull": {"bytes_per_second": SLOW}}))
    fleet = make_fleet({"slow": slow, "other": other})
    yield Pair(lab, shelf, fleet, slow, other)
    for host in (slow, other):
        lab.remove(host)


def test_first_look(pair: Pair) -> None:
    pair.ask_for("big", ["slow"])
    with Terminal(pair.fleet, "pyinfra", *APPLY) as terminal:
        code = terminal.end()
    print("\n=====\n".join(dict.fromkeys(terminal.frames)))
    print("FINAL", code)
    print("\n".join(terminal.all_lines))
    print(pair.fleet.logs()[-1])
    assert 0
