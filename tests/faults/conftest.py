"""Releases, models and fleets for the tests of faults. They install the stand-in always: it can be told to fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from converge.fleet_directory import Document, FleetDirectory, merged
from converge.outside_view import RECORDS
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_release

OLDER, NEWER = "0.24.0", "0.24.1"


@dataclass(frozen=True)
class Shelf:
    """What the lab's registry holds: releases by version, and two bases, one small and one of some megabytes."""

    sources: dict[str, str]
    small: str
    big: str


MakeFleet = Callable[..., FleetDirectory]


@pytest.fixture(scope="session")
def shelf(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Published once for all tests here."""
    sources = {}
    for version in (OLDER, NEWER):
        out = tmp_path_factory.mktemp(f"faults-{version}-")
        for architecture in ("amd64", "arm64"):
            build_release(version, architecture, "tar.zst", out)  # type: ignore[arg-type]
        for file in out.iterdir():
            lab.registry.publish(file, f"faults/{version}/{file.name}")
        sources[version] = f"{lab.registry.files_url}faults/{version}"
    folder = tmp_path_factory.mktemp("faults-models")
    small = tiny_gguf(folder / "small.gguf", name="small", seed=7)
    big = tiny_gguf(folder / "big.gguf", name="big", layers=40, seed=8)
    lab.registry.push_gguf("faults/small", small, parameters={"temperature": 0.5})
    lab.registry.push_gguf("faults/big", big)
    return Shelf(sources, lab.registry.model("faults/small"), lab.registry.model("faults/big"))


@pytest.fixture(scope="session")
def make_fleet(lab: Lab, shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> MakeFleet:
    """`make_fleet({name: host}, more)`: a locked fleet of these hosts that serve one small model."""

    def make(hosts: dict[str, Host], more: Document | None = None) -> FleetDirectory:
        document: Document = {
            "version": 1,
            "release": {"version": OLDER, "source": shelf.sources[OLDER]},
            "defaults": {
                "ssh": {"user": "root", "key": str(lab.key), "known_hosts": str(lab.known_hosts)},
                "models_dir": "/srv/ollama/models",
            },
            "registries": {lab.registry.host: {"insecure": True}},
            "models": {
                "small": {"from": shelf.small, "num_ctx": 512, "num_gpu": 0, "system": "Old words."},
            },
            "groups": {"rack": {"hosts": list(hosts), "models": ["small"]}},
            "hosts": {name: {"address": host.address} for name, host in hosts.items()},
        }
        fleet = FleetDirectory.new(tmp_path_factory.mktemp("fleet"), merged(document, more or {}))
        fleet.lock()
        return fleet

    return make


def asked_anew(fleet: FleetDirectory, shelf: Shelf, step: int) -> None:
    """Ask for the newer release, another prompt and a second, big model; at an even step for the older one again."""
    odd = step % 2 == 1
    version = NEWER if odd else OLDER
    fleet.change(
        release={"version": version, "source": shelf.sources[version]},
        models={
            "small": {"system": "New words." if odd else "Old words."},
            "big": {"from": shelf.big, "num_ctx": 512 if odd else 256, "num_gpu": 0, "preload": True},
        },
        defaults={"env": {"OLLAMA_KEEP_ALIVE": -1, "FLEET_STEP": "odd" if odd else "even"}},
    )
    fleet.change(groups={"rack": {"models": ["small", "big"]}})
    fleet.lock()


def renew(fleet: FleetDirectory, shelf: Shelf) -> None:
    """The first such step."""
    asked_anew(fleet, shelf, 1)


OWN = (
    "/home/admin/.sudo_as_admin_successful",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
    "/etc/ssh",
    "/usr/share/ollama/.ollama/id_ed25519",
    "/usr/share/ollama/.ollama/id_ed25519.pub",
    *RECORDS,
)
"""What differs from host to host and is none of our business."""


def tree(host: Host) -> dict[str, object]:
    """The host's files, but for what is volatile and what makes it this host."""
    found = host.snapshot()
    return {path: entry for path, entry in found.items() if not path.startswith(OWN)}


def unequal(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The paths in which two trees differ, for an assertion's message."""
    return sorted(
        f"{path}: {one.get(path)} / {other.get(path)}"
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
    )


@pytest.fixture(autouse=True)
def calm_registry(request: pytest.FixtureRequest) -> None:
    """A test begins with a registry that does what it should."""
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").registry.set_faults()
