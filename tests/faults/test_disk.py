"""A disk that is too small for what is asked is told before the first byte is fetched."""

from __future__ import annotations

import re

import pytest

from faults.conftest import MakeFleet, Shelf
from faults.outside import manifests
from lab import Lab

pytestmark = pytest.mark.lab

LINE = re.compile(
    r"the disk of /srv/ollama/models has (\d\.\d) MiB free, and (\d\.\d) MiB are needed: "
    r"base \S+faults/big:latest (\d\.\d) MiB; nothing was fetched\. Make room, or set models_dir to a larger disk"
)


def test_a_models_disk_that_is_too_small(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> None:
    host, other = lab.hosts(["small", "large"])
    host.run("mkdir -p /srv/ollama/models && mount -t tmpfs -o size=2m tmpfs /srv/ollama/models")
    fleet = make_fleet({"small": host, "large": other})
    first = fleet.apply()
    assert first.code == 0, str(first)
    fleet.change(models={"big": {"from": shelf.big, "num_ctx": 64, "num_gpu": 0}})
    fleet.change(groups={"rack": {"models": ["small", "big"]}})
    fleet.lock()
    had, asked = manifests(host), len(lab.registry.requests())

    dry, drift = fleet.dry(), fleet.drift()
    found = [line for line in dry.told("small") if LINE.fullmatch(line)]
    assert len(found) == 1, str(dry)
    free, needed = (float(size) for size in LINE.fullmatch(found[0]).groups()[:2])  # type: ignore[union-attr]
    assert free < 2.1 < needed
    # What would change is told all the same; on the host with room nothing stands in the way.
    assert dry.items("small") == dry.items("large") == {f"base {shelf.big}", "model big:latest"}
    assert drift.code == 1
    assert drift.document["hosts"]["small"]["error"] == found[0]
    assert [it["kind"] for it in drift.document["hosts"]["small"]["changes"]] == ["base", "model"]
    assert drift.document["hosts"]["large"]["status"] == "drifted"

    run = fleet.apply()
    assert run.code == 1
    assert found[0] in run.told("small")
    assert manifests(host) == had
    assert manifests(other) > had
    clients = {request["client"] for request in lab.registry.requests()[asked:]}
    assert other.address in clients
    assert host.address not in clients

    host.run("mount -o remount,size=20m /srv/ollama/models")
    assert fleet.apply().code == 0
    assert fleet.drift().code == 0
    assert manifests(host) == manifests(other)
    for one in (host, other):
        lab.remove(one)
