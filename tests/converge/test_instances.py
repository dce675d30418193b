"""One server for each GPU: from one to four and back, with each card's own models, and cards that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from converge.conftest import MODEL, MakeFleet
from converge.fleet_directory import FleetDirectory
from converge.outside_view import layer, main_pid, manifest, process_environment
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

CARDS = ["rtx-4090", "rtx-4060-ti-16gb", "rtx-3090", "rtx-4060-ti-16gb"]
NAMES = ["rtx-4090", "rtx-4060-ti-16gb", "rtx-3090", "rtx-4060-ti-16gb-2"]
MODELS_DIR = "/srv/models"
GPUS = "/usr/share/lab-gpus.json"


@dataclass(frozen=True)
class Tower:
    """A host with four cards of three kinds, and the fleet that it is alone in."""

    host: Host
    fleet: FleetDirectory
    small: str
    lab: Lab

    def cards(self) -> list[dict[str, Any]]:
        """What `nvidia-smi` there tells of."""
        found: list[dict[str, Any]] = json.loads(self.host.read(GPUS))["gpus"]
        return found

    def set_cards(self, cards: list[dict[str, Any]]) -> None:
        """Let `nvidia-smi` tell of these cards, in this order."""
        data = json.loads(self.host.read(GPUS))
        gpus = [{**card, "index": index, "count": len(cards)} for index, card in enumerate(cards)]
        self.host.write(GPUS, json.dumps({**data, "gpus": gpus}))

    def settings(self, **more: Any) -> None:
        """Change what is asked of the host; None takes a key out."""
        there = self.fleet.document["hosts"][self.host.name]
        self.fleet.document["hosts"][self.host.name] = {
            key: value for key, value in {**there, **more}.items() if value is not None
        }
        self.fleet.write()

    def pids(self, names: list[str] = NAMES) -> dict[str, int]:
        """The process of each instance."""
        return {name: main_pid(self.host, f"ollama@{name}.service") for name in names}

    def environments(self) -> dict[str, dict[str, str]]:
        """What of the environment of each instance is ours."""
        return {
            name: {
                key: value
                for key, value in process_environment(self.host, pid).items()
                if key.startswith(("OLLAMA", "CUDA", "ROCR", "GGML"))
            }
            for name, pid in self.pids().items()
        }

    def params(self, model: str) -> dict[str, Any]:
        """Parameters of a model, read from its files."""
        stored = manifest(self.host, MODELS_DIR, f"registry.ollama.ai/library/{model.replace(':', '/')}")
        params: dict[str, Any] = json.loads(layer(self.host, MODELS_DIR, stored, "params"))
        return params


@pytest.fixture(scope="module")
def tower(
    lab: Lab, make_fleet: MakeFleet, base: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tower]:
    gguf = tiny_gguf(tmp_path_factory.mktemp("model") / "tiny-q8.gguf", quantization="Q8_0")
    lab.registry.push_gguf(f"{MODEL}-q8", gguf, parameters={"top_k": 9})
    small = f"{lab.registry.host}/{MODEL}-q8:latest"
    host = lab.host("tower", gpus=CARDS, firewall="nftables")
    fleet = make_fleet(
        {
            "models": {
                "reasoner": {
                    "variants": {"F16": base, "Q8_0": small},
                    "quantization": "F16",
                    "num_gpu": 3,
                    "per_gpu": {
                        "rtx-4060-ti-16gb": {"quantization": "Q8_0", "num_gpu": 2, "num_ctx": 384},
                        "rtx-3090": {"num_gpu": 1},
                    },
                },
                "helper": {"from": small, "num_ctx": 256, "num_gpu": 0},
            },
            "hosts": {
                host.name: {
                    "address": host.address,
                    "models": ["reasoner", "helper"],
                    "models_dir": MODELS_DIR,
                    "listen": "[::]:11434",
                    "firewall": {"allow_from": lab.cidrs("lan")},
                    "env": {"OLLAMA_KEEP_ALIVE": -1},
                }
            },
        }
    )
    yield Tower(host, fleet, small, lab)
    lab.remove(host)


def test_from_one_server_to_four(tower: Tower) -> None:
    host, fleet = tower.host, tower.fleet
    alone = fleet.apply()
    assert alone.code == 0, str(alone)
    tower.settings(instances="per-gpu")

    dry = fleet.dry()
    four = fleet.apply()

    assert four.code == 0, str(four)
    assert dry.items(host.name) == four.items(host.name)
    assert {"service ollama", *(f"service ollama@{name}" for name in NAMES)} <= four.items(host.name)
    assert main_pid(host) == 0
    assert not host.exists("/etc/systemd/system/ollama.service")
    uuids = [card["uuid"] for card in tower.cards()]
    pids = tower.pids()
    for number, name in enumerate(NAMES):
        environment = process_environment(host, pids[name])
        assert environment["CUDA_VISIBLE_DEVICES"] == uuids[number]
        assert environment["OLLAMA_HOST"] == f"[::]:{11434 + number}"
    # The 4090 serves the model as it is written; the others have forms of their own.
    assert (tower.params("reasoner:latest")["num_gpu"], tower.params("reasoner:latest")["top_k"]) == (3, 7)
    of_small = tower.params("reasoner:rtx-4060-ti-16gb")
    assert (of_small["num_gpu"], of_small["num_ctx"], of_small["top_k"]) == (2, 384, 9)
    assert tower.params("reasoner:rtx-3090")["num_gpu"] == 1
    assert tower.params("helper:latest")["num_ctx"] == 256


def test_a_second_apply_changes_nothing_with_one_command(tower: Tower) -> None:
    pids = tower.pids()
    mark = tower.host.mark()

    again = tower.fleet.apply()

    assert again.code == 0, str(again)
    assert again.changed(tower.host.name) == set(), str(again)
    assert tower.pids() == pids
    assert tower.host.ssh_sessions(mark) == ["exec"]
    drift = tower.fleet.drift()
    assert drift.code == 0, str(drift)


def test_other_indices_are_no_change_and_a_card_that_is_gone_is_told(tower: Tower) -> None:
    cards, pids = tower.cards(), tower.pids()
    tower.set_cards([cards[2], cards[0], cards[3], cards[1]])
    moved = tower.fleet.drift()
    assert moved.code == 0, str(moved)

    tower.set_cards([cards[0], cards[1], cards[3]])
    gone = tower.fleet.drift()
    assert gone.code == 2
    assert "service ollama@rtx-3090" in gone.drifted(tower.host.name)
    notes = gone.document["hosts"][tower.host.name]["notes"]
    assert f"the card of the instance rtx-3090, {cards[2]['uuid']}, is not there any more" in notes

    tower.settings(gpus=CARDS)
    error = tower.fleet.drift()
    assert error.code == 1
    assert "gpus: rtx-3090 declared, but found:" in error.text
    tower.settings(
        gpus=None,
        instances=[
            {"name": "one", "devices": [cards[0]["uuid"]]},
            {"name": "two", "devices": [cards[2]["uuid"]]},
        ],
    )
    error = tower.fleet.drift()
    assert error.code == 1
    assert (
        f"the instance two has {cards[2]['uuid']}, which is not there; there are {cards[0]['uuid']}"
        in error.text
    )

    tower.settings(instances="per-gpu")
    tower.set_cards(cards)
    assert tower.fleet.drift().code == 0
    assert tower.pids() == pids


def test_a_card_that_is_swapped_gives_its_port_to_the_new_one(tower: Tower) -> None:
    host, cards, pids = tower.host, tower.cards(), tower.pids()
    new = {**cards[0], "uuid": "GPU-11111111-2222-4333-8444-555555555555"}
    tower.set_cards([cards[0], cards[1], new, cards[3]])

    swapped = tower.fleet.apply()

    assert swapped.code == 0, str(swapped)
    assert "service ollama@rtx-3090" in swapped.items(host.name)
    environment = process_environment(host, main_pid(host, "ollama@rtx-4090-2.service"))
    assert environment["OLLAMA_HOST"] == "[::]:11436"
    assert environment["CUDA_VISIBLE_DEVICES"] == new["uuid"]
    assert not host.exists("/etc/ollama-fleet/instances/rtx-3090")
    others = [name for name in NAMES if name != "rtx-3090"]
    assert tower.pids(others) == {name: pids[name] for name in others}
    tower.set_cards(cards)
    back = tower.fleet.apply()
    assert back.code == 0, str(back)


def test_drift_of_one_instance_is_named_and_repaired_alone(tower: Tower) -> None:
    host, pids = tower.host, tower.pids()
    path = "/etc/ollama-fleet/instances/rtx-4060-ti-16gb"
    host.write(path, host.read(path) + 'OLLAMA_DEBUG="1"\n', 0o600)
    host.run(["systemctl", "stop", "ollama@rtx-4060-ti-16gb-2.service"])

    drift = tower.fleet.drift()
    repaired = tower.fleet.apply()

    assert drift.code == 2
    assert drift.drifted(host.name) == {f"file {path}", "service ollama@rtx-4060-ti-16gb-2"}
    assert repaired.code == 0, str(repaired)
    after = tower.pids()
    same = ["rtx-4090", "rtx-3090"]
    assert [after[name] for name in same] == [pids[name] for name in same]
    assert all(after[name] not in (0, pids[name]) for name in NAMES if name not in same)


def test_a_change_that_fails_leaves_every_server_as_it_was(tower: Tower) -> None:
    host = tower.host
    environments = tower.environments()
    tower.settings(listen="[::]:12000")
    host.run(["systemd-run", "--unit=squatter", "python3", "-m", "http.server", "12002"])

    failed = tower.fleet.apply()

    assert failed.code != 0
    assert "ollama@rtx-3090.service does not stay up" in failed.text
    assert "went back to release" in failed.text
    assert tower.environments() == environments
    host.run(["systemctl", "stop", "squatter.service"])
    tower.settings(listen="[::]:11434")
    assert tower.fleet.apply().code == 0


def test_every_server_is_verified_and_listed(tower: Tower) -> None:
    verified = tower.fleet.run("ollama-fleet", "verify", "--depth", "load", "--json")
    assert verified.code == 0, str(verified)
    placements = json.loads(verified.stdout)["hosts"][tower.host.name]["placements"]
    assert {name.partition(" on ")[2] for name in placements} == set(NAMES)
    assert placements["reasoner:rtx-3090 on rtx-3090"]["layers"]["offloaded"] == 1

    benched = tower.fleet.run("ollama-fleet", "bench", "--repeat", "1", "--fill", "0", "--json")
    assert benched.code == 0, str(benched)
    assert all(f"reasoner on {name}" in benched.stdout for name in NAMES)

    tower.settings(gpus=CARDS)
    listed = json.loads(tower.fleet.run("ollama-fleet", "clients", "--json").stdout)["endpoints"]
    tower.settings(gpus=None)
    assert [(one["instance"], one["url"].rpartition(":")[2]) for one in listed] == [
        (name, str(11434 + number)) for number, name in enumerate(NAMES)
    ]
    assert [model["name"] for model in listed[1]["models"]] == ["reasoner:rtx-4060-ti-16gb", "helper"]


def test_back_to_one_server(tower: Tower) -> None:
    host, fleet = tower.host, tower.fleet
    rules = host.run("nft list ruleset").stdout
    assert "dport 11437" in rules
    tower.settings(instances=None)

    one = fleet.apply()

    assert one.code == 0, str(one)
    assert main_pid(host) > 0
    assert tower.pids() == dict.fromkeys(NAMES, 0)
    for path in (
        "/etc/systemd/system/ollama@.service",
        "/etc/ollama-fleet/instances",
        "/var/lib/ollama-fleet/instances",
    ):
        assert not host.exists(path)
    assert "dport 11437" not in host.run("nft list ruleset").stdout
    again = fleet.apply()
    assert again.changed(host.name) == set(), str(again)
