"""A registry that dies, lies or has moved on: nothing wrong is ever put to use, and the next apply goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from faults.conftest import NEWER, OLDER, MakeFleet, Shelf
from faults.outside import manifests, models_on_disk, version_served
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


def pull_line(run: Run) -> str:
    assert run.code == 1, str(run)
    (line,) = [line for line in run.told("fetching") if line.startswith("pull ")]
    return line


def test_a_base_that_moved_after_the_lock(served: Served, tmp_path: Path) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    gguf = [tiny_gguf(tmp_path / f"{number}.gguf", seed=number) for number in (11, 12, 13)]
    first = lab.registry.push_gguf("faults/moving", gguf[0], parameters={"top_k": 11})
    moving = lab.registry.model("faults/moving")
    served.ask_for("moved", moving)
    locked = (fleet.path / "fleet.lock").read_text()

    # Nothing of that name is on the host yet: nothing is left of what came instead.
    second = lab.registry.push_gguf("faults/moving", gguf[1])
    had = manifests(host)
    line = pull_line(fleet.apply())
    assert line.startswith(f"pull {moving}: {moving} came with digest {second}, locked is {first}; ")
    assert line.endswith(f"run `ollama-fleet lock --update {moving}` and commit fleet.lock")
    assert manifests(host) == had
    assert (fleet.path / "fleet.lock").read_text() == locked

    lab.registry.push_gguf("faults/moving", gguf[0], parameters={"top_k": 11})
    assert fleet.apply().code == 0
    had, store = manifests(host), models_on_disk(host)

    # A good one is there, and a moved tag is not even looked at.
    lab.registry.push_gguf("faults/moving", gguf[1])
    assert fleet.apply().code == 0
    assert models_on_disk(host) == store

    # The lock wants the second, the registry has a third by now: the first stays, with every layer.
    assert fleet.run("ollama-fleet", "lock", "--update", "moved").code == 0
    third = lab.registry.push_gguf("faults/moving", gguf[2])
    line = pull_line(fleet.apply())
    assert f" came with digest {third}, locked is {second}; " in line
    assert models_on_disk(host) == store
    assert manifests(host) == had
    assert served.blobs_are_right()

    lab.registry.push_gguf("faults/moving", gguf[1])
    assert fleet.apply().code == 0
    assert fleet.drift().code == 0
    assert manifests(host) == had
    assert models_on_disk(host) != store


@pytest.mark.parametrize("broken", ["truncated", "swapped"])
def test_a_blob_that_is_not_what_it_is_called(broken: str, served: Served, tmp_path: Path) -> None:
    lab, host, fleet = served.lab, served.host, served.fleet
    gguf = tiny_gguf(tmp_path / "m.gguf", seed=21)
    lab.registry.push_gguf("faults/broken", gguf)
    served.ask_for("broken", lab.registry.model("faults/broken"))
    had, store = manifests(host), models_on_disk(host)
    stored = lab.registry.stored_blob(hashlib.sha256(gguf.read_bytes()).hexdigest())
    content = stored.read_bytes()

    stored.write_bytes(content[: len(content) // 2] if broken == "truncated" else content[::-1])
    line = pull_line(fleet.apply())
    assert "digest mismatch" in line
    assert manifests(host) == had
    # What came whole stays for the next try.
    assert models_on_disk(host).items() >= store.items()
    assert served.blobs_are_right()

    stored.write_bytes(content)
    assert fleet.apply().code == 0
    assert manifests(host) > had


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
