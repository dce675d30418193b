"""Several servers on a Windows host: from one to two, a task each, and back; the cards are played."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from ollama_sim.build import build_windows_release
from windows.conftest import HOST, NEWER, ROOT, VERSION, free_port
from windows.host import WindowsHost
from windows.test_converge import answer, port_of

STATE = f"{ROOT}\\state"
LARGE, SMALL = "GPU-11111111-2222-4333-8444-555555555555", "GPU-66666666-2222-4333-8444-555555555555"
NAMES = ["large", "small"]
BROKEN = "0.24.8"
TASKS = """
foreach ($task in @(Get-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama*' -ErrorAction SilentlyContinue)) {
  $task.TaskName + ' ' + [string]$task.State
}
"""


def card(index: int, name: str, uuid: str, mib: int) -> dict[str, str]:
    return {
        "index": str(index),
        "uuid": uuid,
        "name": name,
        "memory.total": str(mib),
        "driver_version": "551.86",
        "compute_cap": "8.9",
        "mig.mode.current": "[N/A]",
    }


CARDS = [
    card(0, "NVIDIA GeForce RTX 4090", LARGE, 24564),
    card(1, "NVIDIA GeForce RTX 3090", SMALL, 24576),
]


@dataclass(frozen=True)
class Desk:
    """The host, its fleet, and the ports of its two servers."""

    host: WindowsHost
    fleet: FleetDirectory
    ports: dict[str, int]

    def play(self, cards: list[dict[str, str]]) -> None:
        self.host.play_gpus({"gpus": cards, "used": str(self.host.folder / "unused.json")})

    def ask(self, instances: object) -> None:
        self.fleet.document["hosts"][HOST]["instances"] = instances
        self.fleet.write()

    def two(self) -> list[dict[str, object]]:
        return [
            {"name": "large", "devices": [LARGE]},
            {"name": "small", "devices": ["rtx-3090"], "port": self.ports["small"]},
        ]

    def tasks(self) -> list[str]:
        return self.host.powershell(TASKS).splitlines()

    def rules(self) -> list[str]:
        shown = self.host.powershell("Get-NetFirewallRule | ForEach-Object { $_.Name }")
        return sorted(name for name in shown.splitlines() if name.startswith("ollama-fleet-"))

    def pids(self) -> dict[str, str]:
        """The process that listens for each server."""
        script = "Get-NetTCPConnection -State Listen -LocalPort {0} | ForEach-Object {{ $_.OwningProcess }}"
        return {name: self.host.powershell(script.format(port)).strip() for name, port in self.ports.items()}

    def environments(self) -> dict[int, dict[str, str]]:
        """The variables of each server that runs, by its port."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line, block = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            except OSError:
                continue
            if str(self.host.prefix).encode() in line and b"serve" in line.split(b"\0"):
                pairs = dict(entry.split("=", 1) for entry in block.decode().split("\0") if "=" in entry)
                found[int(pairs["OLLAMA_HOST"].rpartition(":")[2])] = pairs
        return found

    def models(self, name: str) -> set[str]:
        """What a server has in memory."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/api/ps", timeout=10) as response:
            there: dict[str, Any] = json.loads(response.read())
        return {model["name"] for model in there["models"]}

    def delete(self, model: str) -> None:
        body = json.dumps({"model": model}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['large']}/api/delete",
            body,
            {"Content-Type": "application/json"},
            method="DELETE",
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()


@pytest.fixture(scope="module")
def desk(first: Run, desk_fleet: FleetDirectory, windows_host: WindowsHost) -> Iterator[Desk]:
    """The host with two cards and one server; afterwards it is as it was."""
    before = json.loads(json.dumps(desk_fleet.document))
    found = Desk(windows_host, desk_fleet, {"large": port_of(desk_fleet), "small": free_port()})
    found.play(CARDS)
    desk_fleet.change(models={"reasoner": {"per_gpu": {"rtx-3090": {"num_ctx": 384}}}})
    yield found
    windows_host.play_gpus(None)
    desk_fleet.document = before
    desk_fleet.write()
    desk_fleet.lock()
    run = desk_fleet.apply()
    assert run.code == 0, str(run)
    if "reasoner:rtx-3090" in {model["name"] for model in answer(desk_fleet, "/api/tags")["models"]}:
        found.delete("reasoner:rtx-3090")  # an apply leaves what nobody asks for any more


@pytest.fixture(scope="module")
def two(desk: Desk) -> Desk:
    """Two servers have taken the place of the one."""
    desk.ask(desk.two())
    shown = desk.fleet.dry()
    assert {"service ollama", "service ollama@large", "service ollama@small"} <= shown.items(HOST), str(shown)
    run = desk.fleet.apply()
    assert desk.host.missing() == [], str(run)
    assert run.code == 0, str(run)
    return desk


def test_each_has_a_task_a_card_a_port_and_its_models(two: Desk) -> None:
    assert two.tasks() == ["Ollama-large Running", "Ollama-small Running"]
    assert two.rules() == sorted(f"ollama-fleet-{port}" for port in two.ports.values())
    assert not two.host.path(f"{STATE}\\serve.ps1").exists()
    environments = two.environments()
    assert {port: found["CUDA_VISIBLE_DEVICES"] for port, found in environments.items()} == {
        two.ports["large"]: LARGE,
        two.ports["small"]: SMALL,
    }
    assert len({found["OLLAMA_MODELS"] for found in environments.values()}) == 1
    assert two.models("large") == {"reasoner:latest"}
    assert two.models("small") == {"reasoner:rtx-3090"}


def test_second_apply_changes_nothing_by_one_command(two: Desk) -> None:
    mark = two.host.mark()
    second = two.fleet.apply()
    assert (second.code, second.changed(HOST)) == (0, set()), str(second)
    assert len(two.host.commands(mark)) == 1
    assert two.fleet.drift().code == 0
    verified = two.fleet.run("ollama-fleet", "verify", "--json")
    assert verified.code == 0, str(verified)


def test_drift_of_one_is_repaired_and_the_other_runs_on(two: Desk) -> None:
    before = two.pids()
    two.host.powershell(
        f"""Disable-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama-small' | Out-Null
        Stop-Process -Id {before["small"]} -Force
        New-NetFirewallRule -Name 'ollama-fleet-1234' -DisplayName 'old' -Direction Inbound -Action Allow """
        "-Protocol TCP -LocalPort '1234' | Out-Null"
    )
    dry = two.fleet.dry()
    assert "service ollama@small" in dry.items(HOST), str(dry)
    assert "service ollama@large" not in dry.items(HOST), str(dry)
    assert two.fleet.drift().code == 2

    run = two.fleet.apply()

    assert two.host.missing() == [], str(run)
    assert run.code == 0, str(run)
    after = two.pids()
    assert after["large"] == before["large"]
    assert after["small"] not in ("", before["small"])
    assert two.tasks() == ["Ollama-large Running", "Ollama-small Running"]
    assert "ollama-fleet-1234" not in two.rules()


def test_a_card_that_is_gone_is_named_with_those_that_are_there(two: Desk) -> None:
    two.play(CARDS[1:])
    run = two.fleet.apply()
    two.play(CARDS)
    assert run.code == 1, str(run)
    (line,) = [line for line in run.told(HOST) if "which is not there" in line]
    assert f"the instance large has {LARGE}" in line
    assert f"{SMALL} (rtx-3090)" in line


def test_indices_that_change_places_change_nothing(two: Desk) -> None:
    two.play([card(0, "NVIDIA GeForce RTX 3090", SMALL, 24576), card(1, CARDS[0]["name"], LARGE, 24564)])
    run = two.fleet.apply()
    two.play(CARDS)
    assert (run.code, run.changed(HOST)) == (0, set()), str(run)


def test_retire_would_remove_both(two: Desk) -> None:
    shown = two.fleet.run("ollama-fleet", "retire", HOST, "--dry")
    for name in NAMES:
        assert f"service ollama@{name}: stopped, the task \\Fleet\\Ollama-{name} removed" in shown.text


def test_a_way_to_one_server_that_fails_leads_back_to_two(two: Desk, tmp_path: Path) -> None:
    for architecture in ("amd64", "arm64"):
        build_windows_release(BROKEN, architecture, tmp_path, {"start": "exit"})  # type: ignore[arg-type]
    before = json.loads(json.dumps(two.fleet.document))
    two.fleet.change(release={"version": BROKEN, "source": f"file://{tmp_path}"})
    two.ask(1)
    two.fleet.lock()

    run = two.fleet.apply()

    assert two.host.missing() == [], str(run)
    assert run.code == 1, str(run)
    assert "went back to release" in str(run)
    assert two.tasks() == ["Ollama-large Running", "Ollama-small Running"]
    assert set(two.environments()) == set(two.ports.values())
    two.fleet.document = before
    two.fleet.write()
    two.fleet.lock()


def test_rollback_takes_both_to_the_release_before(two: Desk, releases: Path) -> None:
    before = json.loads(json.dumps(two.fleet.document))
    two.fleet.change(release={"version": NEWER, "source": f"file://{releases / NEWER}"})
    two.fleet.lock()
    run = two.fleet.apply()
    assert run.code == 0, str(run)
    assert answer(two.fleet, "/api/version") == {"version": NEWER}

    back = two.fleet.run("ollama-fleet", "rollback", HOST)

    assert two.host.missing() == [], str(back)
    assert back.code == 0, str(back)
    assert answer(two.fleet, "/api/version") == {"version": VERSION}
    assert two.tasks() == ["Ollama-large Running", "Ollama-small Running"]
    two.fleet.document = before
    two.fleet.write()
    two.fleet.lock()
    assert two.fleet.drift().code == 0


def test_back_to_one_server(two: Desk) -> None:
    two.ask(1)

    run = two.fleet.apply()

    assert two.host.missing() == [], str(run)
    assert run.code == 0, str(run)
    assert two.tasks() == ["Ollama Running"]
    assert two.rules() == [f"ollama-fleet-{two.ports['large']}"]
    assert set(two.environments()) == {two.ports["large"]}
    left = sorted(path.name for path in two.host.path(STATE).iterdir() if path.is_file())
    assert not [name for name in left if "large" in name or "small" in name or name == "instances"], left
    assert answer(two.fleet, "/api/ps")["models"]
    second = two.fleet.apply()
    assert (second.code, second.changed(HOST)) == (0, set()), str(second)
