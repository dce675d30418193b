"""One apply on which nearly everything goes wrong at once, each thing on a host of its own.

Each host fails alone, with a line that names it and the step; the calm one gets everything; and when the faults
have gone the next apply makes all of them equal.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from converge.command_runs import Run
from faults.conftest import NEWER, OLDER, MakeFleet, Shelf, renew, tree, unequal
from faults.outside import manifests, version_served
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

BAD = ("cut", "dropped", "full-models", "full-opt", "hanging", "not-starting", "gone", "no-sudo")
ALL = ("calm", *BAD)
BIG = 2_500_000
"""The big model has more bytes than this."""


@dataclass
class BadDay:
    """The hosts, what the bad run said, what they looked like after it, and the run that came next."""

    hosts: dict[str, Host]
    bad: Run
    serving: dict[str, str]
    """What each host's server said its version was after the bad run; `none` for no answer."""
    models: dict[str, set[str]]
    """Manifests on each host's disk after the bad run."""
    good: Run
    first_models: set[str]
    """Manifests that all of them had before."""
    requests: list[dict[str, object]] = field(repr=False)
    """What the registry was asked for in both runs."""
    after: dict[str, dict[str, object]] = field(repr=False)
    """Trees after the good run."""


def fill(host: Host, leave: int) -> None:
    """Fill the host's disk but for `leave` KiB."""
    host.run(
        "left=$(df -k --output=avail / | tail -1); "
        f"dd if=/dev/zero of=/filler bs=1024 count=$((left - {leave})) status=none"
    )


def fill_up(host: Host) -> None:
    """Fill the host's disk to the last byte, whoever else writes to it meanwhile."""
    host.run("dd if=/dev/zero of=/filler bs=1024 status=none 2>/dev/null || true")


def when_pulling(host: Host, act: Callable[[], object]) -> threading.Thread:
    """A thread that does something as soon as a host holds a part of the big model."""
    partial = "find /srv/ollama/models/blobs -name '*-partial' -size +600k | grep -q ."

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if host.run(partial, check=False).returncode == 0:
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def day(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> Iterator[BadDay]:
    lab.registry.set_faults()
    found = lab.hosts({name: {"disk": "64M"} for name in ALL})
    hosts = {host.name: host for host in found}
    fleet = make_fleet(hosts, {"hosts": {"no-sudo": {"ssh": {"user": "admin"}, "sudo": True}}})
    first = fleet.apply()
    assert first.code == 0, str(first)

    first_models = manifests(hosts["calm"])
    asked = len(lab.registry.requests())
    renew(fleet, shelf)
    fill(hosts["full-opt"], 150)
    hosts["hanging"].write("/etc/ollama-sim.json", json.dumps({"hang": ["/api/tags"]}))
    hosts["not-starting"].write("/etc/ollama-sim.json", json.dumps({"start": "exit"}))
    hosts["gone"].cut_network()
    fleet.change(hosts={"no-sudo": {"ssh": {"user": "student"}}})
    lab.registry.set_faults(bytes_per_second=400_000)
    threads = [
        when_pulling(hosts["cut"], hosts["cut"].cut_network),
        when_pulling(hosts["full-models"], lambda: fill_up(hosts["full-models"])),
        when_pulling(hosts["dropped"], lambda: hosts["dropped"].run("pkill -KILL -f '^sshd: root'")),
    ]
    bad = fleet.apply()
    for thread in threads:
        thread.join(1)
    serving = {name: version_served(host) for name, host in hosts.items()}
    models = {name: manifests(host) for name, host in hosts.items()}

    for name in ("cut", "gone"):
        hosts[name].restore_network()
    for name in ("full-models", "full-opt"):
        hosts[name].run("rm /filler")
    for name in ("hanging", "not-starting"):
        hosts[name].run("rm /etc/ollama-sim.json")
    fleet.change(hosts={"no-sudo": {"ssh": {"user": "admin"}}})
    lab.registry.set_faults()
    good = fleet.apply()
    after = {name: tree(host) for name, host in hosts.items()}
    requests = lab.registry.requests()[asked:]
    yield BadDay(hosts, bad, serving, models, good, first_models, requests, after)
    for host in found:
        lab.remove(host)


REASONS = {
    "cut": r"pull \S+faults/big:latest: the connection to the host broke off; run again to go on from here",
    "dropped": r"pull \S+faults/big:latest: the connection to the host broke off; run again to go on from here",
    "full-models": r"pull \S+faults/big:latest: POST /api/pull: .*No space left on device",
    "full-opt": r"the disk of /opt/ollama and /srv/ollama/models has 0\.\d MiB free, "
    r"and \d\.\d MiB are needed: base .*; nothing was fetched\. Make room, or .*",
    "hanging": r"pull \S+faults/big:latest: GET http://127\.0\.0\.1:11434/api/tags: no answer in time",
    "not-starting": r"release 0\.24\.1 does not start \(exit status 1\); its last words: .+; nothing was switched",
    "gone": r"Could not connect \(timed out\)",
    "no-sudo": r"sudo asks for a password, and there is no terminal to type it at; let this user use sudo without one, "
    r"or set another ssh\.user",
}


def test_the_calm_host_gets_everything(day: BadDay) -> None:
    assert day.serving["calm"] == NEWER
    assert len(day.models["calm"]) == 4
    assert day.bad.failed("calm") == set()
    assert "Ollama 0.24.1 on loopback only: small:latest, big:latest" in day.bad.told("calm")


@pytest.mark.parametrize("name", BAD)
def test_a_failed_host_says_why_in_one_line(day: BadDay, name: str) -> None:
    matching = [line for line in day.bad.told(name) if re.fullmatch(REASONS[name], line)]
    assert len(matching) == 1, str(day.bad)
    # Beside the reason: what is to change, that operations went well, and pyinfra's own word that it ended here.
    usual = re.compile(
        r"Connected|Ready: .*|Success|No changes|Error: executed \d commands?|.*: .* → .*|.*: restart for.*|"
        r"(pulling|creating|loading|fetching) \S+|trying each model|(unpacking|trying) release \S+|"
        r"went back to release 0\.24\.0 with its environment and models; it serves.*"
    )
    noise = [line for line in day.bad.told(name) if line not in matching and not usual.fullmatch(line)]
    assert [line for line in noise if "password" not in line and not line.startswith("note: ")] == [], str(
        day.bad
    )
    assert "Traceback" not in day.bad.text


def test_exit_code_and_failed_hosts(day: BadDay) -> None:
    assert day.bad.code == 1
    assert set(day.bad.document["results"]["failed_hosts"]) == set(BAD)


@pytest.mark.parametrize("name", ["full-opt", "gone", "no-sudo", "not-starting"])
def test_the_old_release_keeps_serving(day: BadDay, name: str) -> None:
    assert day.serving[name] == OLDER


@pytest.mark.parametrize("name", ["full-models", "hanging"])
def test_a_host_that_fails_goes_back(day: BadDay, name: str) -> None:
    assert day.serving[name] == OLDER
    assert day.models[name] == day.first_models
    assert any(line.startswith("went back to release 0.24.0") for line in day.bad.told(name))


@pytest.mark.parametrize("name", ALL)
def test_no_model_is_lost(day: BadDay, name: str) -> None:
    assert day.models[name] >= day.first_models


def test_the_next_apply_mends_all(day: BadDay) -> None:
    assert day.good.code == 0, str(day.good)
    assert day.good.document["results"]["failed_hosts"] == []
    assert {version_served(host) for host in day.hosts.values()} == {NEWER}


@pytest.mark.parametrize("name", BAD)
def test_the_tree_is_that_of_the_calm_host(day: BadDay, name: str) -> None:
    assert unequal(day.after["calm"], day.after[name]) == []


@pytest.mark.parametrize("name", ["cut", "dropped"])
def test_a_broken_pull_goes_on_where_it_was(day: BadDay, name: str) -> None:
    fetched = sum(
        int(str(request["bytes"]))
        for request in day.requests
        if request["client"] == day.hosts[name].address and "/faults/big/blobs/" in str(request["path"])
    )
    assert fetched < 2 * BIG
