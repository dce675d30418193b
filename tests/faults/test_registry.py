"""A registry that dies, lies or has moved on: nothing wrong is ever put to use, and the next apply goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converge.fleet_directory import FleetDirectory
from faults.conftest import NEWER, OLDER, MakeFleet, Shelf
from faults.outside import manifests, version_served
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab


@dataclass
class Served:
    """A host that serves one model, its fleet, and the registry's other models."""

    lab: Lab
    host: Host
    fleet: FleetDirectory
    shelf: Shelf

    def ask_for(self, name: str, base: str) -> None:
        """Ask for one more model, and lock it."""
        self.fleet.change(models={name: {"from": base, "num_ctx": 64, "num_gpu": 0}})
        self.fleet.change(groups={"rack": {"models": ["small", name]}})
        self.fleet.lock()

    def blobs_are_right(self) -> bool:
        listed = self.host.run("cd /srv/ollama/models/blobs && sha256sum sha256-*").stdout.splitlines()
        return all(line.split()[1] == f"sha256-{line.split()[0]}" for line in listed)


@pytest.fixture
def served(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> Iterator[Served]:
    host = lab.host("fetching")
    # Six tries with ever longer waits in between are the engine's own patience, not what is tested here.
    host.write("/etc/ollama-sim.json", json.dumps({"pull": {"retry_scale": 0}}))
    fleet = make_fleet({"fetching": host})
    assert fleet.apply().code == 0
    yield Served(lab, host, fleet, shelf)
    lab.remove(host)


def test_dying_and_lying(served: Served, tmp_path: Path) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    had = manifests(host)
    served.ask_for("big", served.shelf.big)

    lab.registry.set_faults(drop_after=1000)
    run = fleet.apply()
    assert run.code == 1
    (line,) = [line for line in run.told("fetching") if line.startswith("pull ")]
    assert line.startswith(f"pull {served.shelf.big}: POST /api/pull: ")
    assert manifests(host) == had

    lab.registry.set_faults(corrupt=1)
    run = fleet.apply()
    assert run.code == 1
    (line,) = [line for line in run.told("fetching") if line.startswith("pull ")]
    assert "digest mismatch" in line
    assert manifests(host) == had
    assert version_served(host) == OLDER

    lab.registry.set_faults()
    run = fleet.apply()
    assert run.code == 0, str(run)
    assert manifests(host) > had
    assert served.blobs_are_right()


def test_a_base_that_moved_after_the_lock(served: Served, tmp_path: Path) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    lab.registry.push_gguf("faults/moving", tiny_gguf(tmp_path / "one.gguf", seed=11))
    moving = lab.registry.model("faults/moving")
    served.ask_for("moved", moving)
    locked = (fleet.path / "fleet.lock").read_text()
    digest = lab.registry.push_gguf("faults/moving", tiny_gguf(tmp_path / "two.gguf", seed=12))
    run = fleet.apply()
    assert run.code == 1
    (line,) = [line for line in run.told("fetching") if line.startswith("pull ")]
    assert line.startswith(f"pull {moving}: {moving} came with digest {digest}, locked is sha256:")
    assert line.endswith("run `ollama-fleet lock` and commit fleet.lock")
    assert not any("registry.ollama.ai/library/moved" in path for path in manifests(host))
    assert (fleet.path / "fleet.lock").read_text() == locked
    lab.registry.push_gguf("faults/moving", tmp_path / "one.gguf")
    run = fleet.apply()
    assert run.code == 0, str(run)
    assert fleet.drift().code == 0


def test_a_release_with_other_bytes(served: Served) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    fleet.change(release={"version": NEWER, "source": served.shelf.sources[NEWER]})
    fleet.lock()
    lab.registry.set_faults(corrupt=1)
    for download in ("host", "controller"):
        fleet.change(release={"download": download})
        run = fleet.apply()
        assert run.code == 1, str(run)
        lines = [line for line in run.told("fetching") if "locked" in line]
        assert len(lines) == 1, str(run)
        assert "nothing was installed" in lines[0].casefold()
        assert host.run("ls /opt/ollama").stdout.split() == [OLDER, "current"]
        assert version_served(host) == OLDER
    lab.registry.set_faults()
    assert fleet.apply().code == 0
    assert version_served(host) == NEWER


def test_a_release_that_breaks_off_is_gone_on_with(served: Served) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    fleet.change(release={"version": NEWER, "source": served.shelf.sources[NEWER]})
    fleet.lock()
    lab.registry.set_faults(drop_after=100_000)
    run = fleet.apply()
    lab.registry.set_faults()
    if run.code:
        (line,) = [line for line in run.told("fetching") if line.startswith("could not fetch ")]
        assert "curl: (18)" in line
        assert version_served(host) == OLDER
        assert fleet.apply().code == 0
    assert version_served(host) == NEWER
    archive = host.run("sha256sum /opt/ollama/current/bin/ollama").stdout
    assert len(archive.split()[0]) == len(hashlib.sha256().hexdigest())
