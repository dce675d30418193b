"""One commit gives one fleet: two controllers that share nothing but the repository make two hosts equal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from converge.conftest import MakeFleet
from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

WRITTEN = (
    "/etc/systemd/system/ollama.service",
    "/etc/systemd/system/ollama.service.d/zz-fleet.conf",
    "/etc/ollama-fleet/environment",
    "/etc/profile.d/ollama-fleet.sh",
)
MODELS = "/srv/models"


def served(host: Host) -> dict[str, bytes]:
    """The bytes of every file of ours and of every manifest."""
    manifests = host.run(f"find {MODELS}/manifests -type f").stdout.split()
    return {path: host.read_bytes(path) for path in (*WRITTEN, *manifests)}


def test_two_empty_controllers(lab: Lab, make_fleet: MakeFleet, base: str, tmp_path: Path) -> None:
    hosts = lab.hosts(["first", "second"])
    tiny_gguf(tmp_path / "mine.gguf", seed=31)
    fleet = make_fleet(
        {
            "defaults": {"models_dir": MODELS, "env": {"OLLAMA_KEEP_ALIVE": -1, "OLLAMA_DEBUG": True}},
            "models": {
                "mine": {"from": "./mine.gguf", "num_ctx": 64, "num_gpu": 0, "parameters": {"top_k": 3}}
            },
            "groups": {"all-of-them": {"hosts": ["pc"], "models": ["reasoner", "mine"]}},
            "hosts": {"pc": {"address": hosts[0].address}},
        },
        locked=False,
    )
    shutil.copy(tmp_path / "mine.gguf", fleet.path)
    fleet.lock()
    lock = (fleet.path / "fleet.lock").read_bytes()

    found = []
    for host in hosts:
        # A fresh checkout and a fresh home; of the machine before it nothing is known but what is in git.
        checkout = tmp_path / host.name
        shutil.copytree(fleet.path, checkout, ignore=shutil.ignore_patterns(".*", "*.log", "__pycache__"))
        controller = FleetDirectory.new(checkout, fleet.document)
        controller.change(hosts={"pc": {"address": host.address}})
        again = controller.lock()
        assert "fleet.lock: unchanged" in again.stdout
        applied = controller.apply()
        assert applied.code == 0, str(applied)
        assert controller.drift().code == 0
        assert (checkout / "fleet.lock").read_bytes() == lock
        found.append(served(host))

    first, second = found
    assert len([path for path in first if path.startswith(MODELS)]) == 4
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []

    # And once more on the same host, from yet another: nothing is left to do.
    dry = controller.dry()
    assert dry.to_change("pc") == set(), str(dry)
    for host in hosts:
        lab.remove(host)
