"""Several servers where somebody's one was: each tuned by itself, all gone back to the release before, retired."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from converge.command_runs import Run
from converge.conftest import NEWER, VERSION, MakeFleet, Release
from converge.fleet_directory import FleetDirectory
from converge.outside_view import layer, main_pid, manifest
from converge.upstream_install import UNIT, UNTIL_IT_ANSWERS, install
from lab import Lab
from lab.host import Host
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.outputs.schemas import SCHEMAS
from tuning.simulated import GIB, MIB, Case

pytestmark = pytest.mark.lab

LARGE, SMALL, SECOND = NAMES = ("rtx-3090", "rtx-4060-ti-16gb", "rtx-4060-ti-16gb-2")
CARDS = [LARGE, SMALL, SMALL]
PORTS = dict(zip(NAMES, range(11434, 11437), strict=True))
MODELS_DIR = "/srv/models"
CASE = Case("deepseek-r1:32b", 24 * GIB, 512, 0.0)
"""Whose shape the tiny model pretends to have, and whose facts stand in the lock."""
WEIGHTS = CASE.facts.total_bytes - CASE.facts.token_embd_bytes
PRETEND = {
    "weights_bytes": WEIGHTS,
    "layers": CASE.layers,
    "kv_bytes_per_token": 1 << 20,
    "graph_bytes": 100 * MIB,
}
TAKEN_BY_OTHERS = 3 * GIB
"""What somebody else has of the second small card."""


@dataclass
class Rig:
    """A host with three cards of two kinds, and the fleet that it is alone in."""

    host: Host
    fleet: FleetDirectory

    def play(self, **more: Any) -> None:
        """Let every model of the stand-in be a large one."""
        scenario = {"pretend": {"*": PRETEND}, "memory_bytes": 64 * GIB, "seed": 4, "noise": 0.1}
        self.host.write("/etc/ollama-sim.json", json.dumps(scenario | more))

    def ask(self, instance: str, path: str, body: object = None) -> Any:
        """What a server answers on the host itself."""
        url = f"http://127.0.0.1:{PORTS[instance]}{path}"
        data = [] if body is None else ["-d", json.dumps(body)]
        return json.loads(self.host.run(["curl", "-gsSf", "-m", "60", *data, url], timeout=90).stdout)

    def versions(self) -> set[str]:
        """Those that the servers say they are of."""
        return {self.ask(name, "/api/version")["version"] for name in NAMES}

    def loaded(self) -> dict[str, dict[str, bool]]:
        """What each server has in memory, and whether for ever."""
        return {
            name: {
                model["name"]: model["expires_at"] > "2200" for model in self.ask(name, "/api/ps")["models"]
            }
            for name in NAMES
        }

    def load(self, instance: str, model: str, keep_alive: object) -> None:
        """Have a model in memory there."""
        self.ask(instance, "/api/generate", {"model": model, "keep_alive": keep_alive, "stream": False})

    def tune(self, *options: str) -> Run:
        """Tune the host's models."""
        run = self.fleet.run("ollama-fleet", "tune", self.host.name, *options)
        assert "Traceback" not in run.text, str(run)
        return run


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


@pytest.fixture(scope="module")
def rig(lab: Lab, make_fleet: MakeFleet, base: str, release: Release) -> Iterator[Rig]:
    if not release.is_stand_in:
        pytest.skip("a real release loads no model of 18 GiB here")
    host = lab.host("rig", gpus=CARDS, firewall="nftables")
    install(host, release)
    fleet = make_fleet(
        {
            "models": {"reasoner": {"num_gpu": 5, "preload": False}},
            "hosts": {
                host.name: {
                    "address": host.address,
                    "models": ["reasoner"],
                    "models_dir": MODELS_DIR,
                    "listen": "0.0.0.0:11434",
                    "env": {"OLLAMA_KEEP_ALIVE": "30m"},
                    "firewall": {"allow_from": lab.cidrs("lan")},
                    "instances": "per-gpu",
                }
            },
        }
    )
    # What the lock knows of the tiny model is what the stand-in pretends of it.
    file = fleet.path / "fleet.lock"
    lock = Lock.load(file)
    name = ModelName.parse(base)
    lock.with_model(name, lock.model(name).model_copy(update={"facts": CASE.facts.to_dict()})).save(file)
    yield Rig(host, fleet)
    lab.remove(host)


def test_they_take_the_place_of_somebodys_server(rig: Rig) -> None:
    host = rig.host
    host.run(UNTIL_IT_ANSWERS)

    applied = rig.fleet.apply()

    assert applied.code == 0, str(applied)
    assert main_pid(host) == 0
    assert host.run(["systemctl", "is-enabled", "ollama"], check=False).stdout.strip() == "disabled"
    assert host.read("/etc/systemd/system/ollama.service") == UNIT
    assert rig.fleet.apply().changed(host.name) == set()


def test_each_is_tuned_with_its_own_card_and_the_file_has_it_by_kind(rig: Rig) -> None:
    rig.play()
    rig.host.use_gpu_memory({2: TAKEN_BY_OTHERS // MIB})
    rig.load(LARGE, "reasoner", -1)
    rig.load(SECOND, "reasoner", "20m")
    before = rig.loaded()
    assert before == {LARGE: {"reasoner:latest": True}, SMALL: {}, SECOND: {"reasoner:latest": False}}

    run = rig.tune("--json", "--write")

    assert run.code == 0, str(run)
    assert rig.loaded() == before
    jsonschema.validate(run.document, SCHEMAS["tune"]())
    models = run.document["models"]
    assert list(models) == [f"reasoner on {name}" for name in NAMES]
    assert [one["gpus"] for one in models.values()] == [[kind] for kind in CARDS]
    large, small, second = (one["num_gpu"] for one in models.values())
    of_others = TAKEN_BY_OTHERS * CASE.layers // WEIGHTS
    assert 0 < second <= small - of_others // 2 < small < large == CASE.layers
    # Each saw its own card alone, though others had models in memory meanwhile.
    assert all(len(step["taken"]) == 1 for one in models.values() for step in one["steps"] if step["taken"])

    document = json.loads((rig.fleet.path / "fleet.yaml").read_text())
    assert document["models"]["reasoner"]["per_gpu"] == {
        LARGE: {"num_gpu": large},
        SMALL: {"num_gpu": second},
    }
    kept = yaml.safe_load((rig.fleet.path / "fleet.measured.yaml").read_text())
    (releases,) = kept["measured"].values()
    assert set(releases[VERSION]) == {LARGE, SMALL}
    lines = (rig.fleet.path / "fleet.runs.jsonl").read_text().splitlines()
    assert [(one["model"], one["gpus"]) for one in map(json.loads, lines)] == [
        (f"reasoner on {name}", [kind]) for name, kind in zip(NAMES, CARDS, strict=True)
    ]

    rig.fleet.document = document
    assert rig.fleet.apply().code == 0
    for kind, value in ((LARGE, large), (SMALL, second)):
        stored = manifest(rig.host, MODELS_DIR, f"registry.ollama.ai/library/reasoner/{kind}")
        assert json.loads(layer(rig.host, MODELS_DIR, stored, "params"))["num_gpu"] == value


def test_one_instance_by_its_name(rig: Rig) -> None:
    rig.play()
    again = rig.tune(f"reasoner:{LARGE}", "--instance", LARGE, "--patch")
    assert (again.code, again.stdout) == (0, ""), "it says so already"
    assert "on rtx-4060" not in again.text

    wrong = rig.tune("--instance", "rtx-5090")
    assert wrong.code == 1
    assert f"rtx-5090 is no instance of this host; there are {', '.join(NAMES)}" in wrong.text

    options = ("--instance", SMALL, "--repeat", "1", "--fill", "0", "--json")
    benched = rig.fleet.run("ollama-fleet", "bench", *options)
    assert benched.code == 0, str(benched)
    jsonschema.validate(benched.document, SCHEMAS["bench"]())
    (one,) = benched.document["hosts"][rig.host.name]["models"].values()
    assert (one["instance"], one["gpus"]) == (SMALL, [SMALL])


def test_a_controller_that_is_killed_leaves_what_each_had_in_memory(rig: Rig) -> None:
    rig.play()
    rig.load(LARGE, f"reasoner:{LARGE}", -1)
    rig.load(SMALL, f"reasoner:{SMALL}", -1)
    before = rig.loaded()
    assert before[LARGE][f"reasoner:{LARGE}"]
    assert before[SMALL] == {f"reasoner:{SMALL}": True}
    rig.play(load_seconds=0.5)
    process = subprocess.Popen(
        [str(Path(rig.fleet.commands) / "ollama-fleet"), "tune", rig.host.name, "--instance", SMALL],
        cwd=rig.fleet.path,
        env=rig.fleet.environment_of_run(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: rig.loaded()[SMALL] != before[SMALL] or process.poll() is not None)
    assert process.poll() is None

    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    wait_until(lambda: rig.loaded() == before)
    assert rig.loaded() == before


def test_all_go_back_to_the_release_before(rig: Rig, publish: Callable[..., Release]) -> None:
    rig.play()
    rig.fleet.change(release=publish(NEWER).document)
    rig.fleet.lock()
    newer = rig.fleet.apply()
    assert newer.code == 0, str(newer)
    assert rig.versions() == {NEWER}

    back = rig.fleet.run("ollama-fleet", "rollback", rig.host.name)

    assert back.code == 0, str(back)
    assert rig.versions() == {VERSION}
    assert main_pid(rig.host) == 0
    drift = rig.fleet.drift()
    assert {f"service ollama@{name}" for name in NAMES} <= drift.drifted(rig.host.name)


def test_somebodys_server_runs_again_once_they_are_retired(rig: Rig) -> None:
    host = rig.host
    assert "dport 11436" in host.run("nft list ruleset").stdout

    done = rig.fleet.run("ollama-fleet", "retire", host.name, "-y")

    assert done.code == 0, str(done)
    for name in NAMES:
        assert f"service ollama@{name}: stopped" in done.text
    host.run(UNTIL_IT_ANSWERS)
    assert rig.ask(LARGE, "/api/version")["version"] == VERSION
    assert host.run(["systemctl", "is-enabled", "ollama"]).stdout.strip() == "enabled"
    assert host.read("/etc/systemd/system/ollama.service") == UNIT
    assert host.run(["pgrep", "-c", "-f", "ollama serve"]).stdout.strip() == "1"
    rules = host.run("nft list ruleset").stdout
    assert not any(f"dport {port}" in rules for port in PORTS.values())
    for path in ("/etc/ollama-fleet", "/etc/systemd/system/ollama@.service", MODELS_DIR):
        assert not host.exists(path)
