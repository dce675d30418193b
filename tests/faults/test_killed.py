"""An apply that is killed, or interrupted by Ctrl-C, at a random moment loses nothing, and the next one ends where an
undisturbed one does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from converge.fleet_directory import FleetDirectory
from faults.conftest import MakeFleet, Shelf, asked_anew, tree, unequal
from faults.outside import manifests, version_served
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

IN_TEST, IN_SOAK = 5, 50
SLOW = 600_000
"""Bytes per second of the registry, so that downloads take a good part of an apply."""


@dataclass
class Twins:
    """Two hosts whose applies are killed, and one whose applies are not; each asked for the same."""

    lab: Lab
    shelf: Shelf
    disturbed: FleetDirectory
    calm: FleetDirectory
    victims: list[Host]
    calm_host: Host
    seconds: float = 0.0
    """How long an undisturbed apply takes."""
    steps: int = 0
    trees: dict[int, dict[str, object]] = field(default_factory=dict)

    def calm_tree(self) -> dict[str, object]:
        """The tree of the undisturbed host after as many changes; from the third on they only alternate.

        Not earlier: what is kept for a rollback is the host one change before, with its own link to one before that.
        """
        step = self.steps if self.steps < 4 else 2 + self.steps % 2
        if step not in self.trees:
            begin = time.monotonic()
            self.lab.registry.set_faults(bytes_per_second=SLOW)
            run = self.calm.apply()
            self.lab.registry.set_faults()
            assert run.code == 0, str(run)
            self.seconds = max(self.seconds, time.monotonic() - begin)
            self.trees[step] = tree(self.calm_host)
        return self.trees[step]

    def next(self) -> None:
        """Ask for the other release, prompt, listening address and set of models."""
        self.steps += 1
        for fleet in (self.disturbed, self.calm):
            asked_anew(fleet, self.shelf, self.steps)


@pytest.fixture(scope="module")
def twins(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> Iterator[Twins]:
    one, two, calm = lab.hosts(
        {"killed-1": {"firewall": "ufw"}, "killed-2": {"firewall": "ufw"}, "unkilled": {"firewall": "ufw"}}
    )
    more = {"defaults": {"listen": "0.0.0.0:11434", "firewall": {"allow_from": lab.cidrs("lan")}}}
    disturbed = make_fleet(
        {"one": one, "two": two},
        {
            **more,
            "hosts": {"two": {"ssh": {"user": "admin"}, "sudo": True}},
            "rollout": {"batch": 1},
        },
    )
    made = Twins(lab, shelf, disturbed, make_fleet({"calm": calm}, more), [one, two], calm)
    made.calm_tree()
    yield made
    for host in (one, two, calm):
        lab.remove(host)


def killed_after(fleet: FleetDirectory, seconds: float, number: signal.Signals) -> str:
    """Begin an apply, and end its whole process group after so many seconds, unless it has ended by then.

    Returns what it has said.
    """
    said = fleet.path / "killed.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [str(fleet.commands / "pyinfra"), "-y", "inventory/hosts.py", "deploy.py"],
            cwd=fleet.path,
            env=fleet.environment_of_run(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
            process.wait(120)
    return said.read_text()


def check(twins: Twins, seed: int) -> None:
    calm = twins.calm_tree()
    # Python starts for half a second; nothing can happen to a host before. One host changes after the other.
    moment = random.Random(seed).uniform(0.5, 1.7 * twins.seconds)
    before = [
        manifests(host) if host.exists("/srv/ollama/models/manifests") else set() for host in twins.victims
    ]
    twins.lab.registry.set_faults(bytes_per_second=SLOW)
    number = signal.SIGINT if seed % 2 else signal.SIGKILL
    said = killed_after(twins.disturbed, moment, number)
    assert "Traceback" not in said, said
    twins.lab.registry.set_faults()
    for host, had in zip(twins.victims, before, strict=True):
        if had:
            assert had <= manifests(host), f"seed {seed}: models were lost after {moment:.2f} s"
            # Not in the middle of a restart for ever: the old release or the new one answers.
            assert version_served(host, wait=10) in twins.shelf.sources, f"seed {seed}, {moment:.2f} s"
    run = twins.disturbed.apply()
    assert run.code == 0, f"seed {seed}, killed after {moment:.2f} s:\n{run}"
    for host in twins.victims:
        assert unequal(tree(host), calm) == [], f"seed {seed}, killed after {moment:.2f} s"
    assert twins.disturbed.drift().code == 0


@pytest.mark.parametrize("seed", range(IN_TEST))
def test_killed(twins: Twins, seed: int) -> None:
    check(twins, seed)
    twins.next()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(IN_TEST, IN_TEST + IN_SOAK))
def test_killed_again(twins: Twins, seed: int) -> None:
    check(twins, seed)
    twins.next()
