"""A release that is no good is come back from, and `ollama-fleet rollback` goes back by hand, as on Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from ollama_sim.build import build_windows_release
from windows.conftest import HOST, MODELS, NEWER, ROOT, VERSION
from windows.host import WindowsHost
from windows.test_converge import answer

STATE = f"{ROOT}\\state"


def ask(fleet: FleetDirectory, version: str, source: Path, words: str) -> None:
    """Ask for a release, and with it for another variable and another prompt."""
    fleet.change(
        release={"version": version, "source": f"file://{source}"},
        hosts={HOST: {"env": {"OLLAMA_NUM_PARALLEL": 2} if version == NEWER else {"OLLAMA_NUM_PARALLEL": 1}}},
        models={"reasoner": {"system": words}},
    )
    fleet.lock()


def loaded(fleet: FleetDirectory) -> list[str]:
    models: Any = answer(fleet, "/api/ps")["models"]
    return [model["name"] for model in models]


def files(host: WindowsHost) -> dict[str, bytes]:
    """What decides how the server runs, and the models' manifests."""
    manifests = host.path(f"{MODELS}\\manifests")
    places = [host.path(f"{STATE}\\serve.ps1"), *host.path(f"{ROOT}\\releases").glob("[cp]*")]
    places += [path for path in manifests.rglob("*") if path.is_file()]
    return {str(path.relative_to(host.prefix)): path.read_bytes() for path in places}


def variable(host: WindowsHost, name: str) -> str:
    return host.powershell(f"[Environment]::GetEnvironmentVariable('{name}', 'Machine')").strip()


@pytest.fixture(scope="module")
def settled(first: Run, desk_fleet: FleetDirectory, releases: Path) -> Iterator[FleetDirectory]:
    """The host as the older release serves it; it is as it was afterwards."""
    before = desk_fleet.document
    ask(desk_fleet, VERSION, releases / VERSION, "Old words.")
    run = desk_fleet.apply()
    assert run.code == 0, str(run)
    yield desk_fleet
    desk_fleet.document = before
    desk_fleet.write()
    desk_fleet.lock()
    run = desk_fleet.apply()
    assert run.code == 0, str(run)


@pytest.mark.parametrize(
    ("version", "faults", "reason"),
    [
        ("0.24.3", {"start": "exit"}, "the task \\Fleet\\Ollama does not stay up"),
        ("0.24.4", {"errors": {"/api/generate": [500, "boom"]}}, "boom"),
    ],
    ids=["does not start", "answers wrongly"],
)
def test_a_release_that_is_no_good_is_come_back_from(
    settled: FleetDirectory,
    windows_host: WindowsHost,
    tmp_path: Path,
    releases: Path,
    version: str,
    faults: dict[str, object],
    reason: str,
) -> None:
    for architecture in ("amd64", "arm64"):
        build_windows_release(version, architecture, tmp_path / version, faults)  # type: ignore[arg-type]
    before = files(windows_host)
    ask(settled, version, tmp_path / version, "New words.")

    run = settled.apply()

    assert windows_host.missing() == [], str(run)
    assert run.code == 1, str(run)
    assert any(reason in line for line in run.told(HOST)), str(run)
    back = f"went back to release {VERSION} with its environment and models; it serves"
    assert run.told(HOST).count(back) == 1, str(run)
    assert "Traceback" not in run.text
    assert answer(settled, "/api/version") == {"version": VERSION}
    assert loaded(settled) == ["reasoner:latest"]
    assert files(windows_host) == before
    assert not windows_host.path(f"{STATE}\\unproven").exists()
    assert not windows_host.path(f"{MODELS}\\.fleet-unproven").exists()
    (last,) = settled.run("ollama-fleet", "history", "--json", "-n", "1").document["hosts"][HOST]["records"]
    assert (last["outcome"], last["release"]) == ("failed", version)
    assert reason in last["reason"]
    ask(settled, VERSION, releases / VERSION, "Old words.")
    drift = settled.drift()
    assert drift.code == 0, str(drift)


def test_rollback_by_hand_and_there_again(
    settled: FleetDirectory, windows_host: WindowsHost, releases: Path
) -> None:
    ask(settled, NEWER, releases / NEWER, "New words.")
    run = settled.apply()
    assert run.code == 0, str(run)
    assert settled.drift().code == 0
    assert variable(windows_host, "OLLAMA_NUM_PARALLEL") == "2"

    back = settled.run("ollama-fleet", "rollback", HOST)

    assert windows_host.missing() == [], str(back)
    assert back.code == 0, str(back)
    assert f"{HOST}: went back to release {VERSION} with its environment; it serves" in back.stdout
    assert f"still asks for release {NEWER}: the next apply goes there again" in back.stdout
    assert answer(settled, "/api/version") == {"version": VERSION}
    assert loaded(settled) == ["reasoner:latest"]
    assert variable(windows_host, "OLLAMA_NUM_PARALLEL") == "1"
    drift = settled.drift()
    assert drift.code == 2
    kinds = {item["kind"] for item in drift.document["hosts"][HOST]["changes"]}
    assert kinds == {"release", "file", "variable"}, str(drift)
    (last,) = settled.run("ollama-fleet", "history", "--json", "-n", "1").document["hosts"][HOST]["records"]
    assert (last["outcome"], last["release"]) == ("ok", VERSION)
    assert [f"{change['kind']} {change['name']}" for change in last["changes"]] == [
        f"rollback to release {VERSION}"
    ]

    again = settled.run("ollama-fleet", "rollback", HOST)
    assert f"went back to release {NEWER}" in again.stdout, str(again)
    assert settled.drift().code == 0


def test_rollback_of_a_host_that_cannot(settled: FleetDirectory, windows_host: WindowsHost) -> None:
    kept = windows_host.path(f"{STATE}\\previous")
    kept.rename(kept.with_name("elsewhere"))
    none = settled.run("ollama-fleet", "rollback", HOST)
    kept.with_name("elsewhere").rename(kept)
    assert (none.code, none.stdout) == (1, "")
    assert f"{HOST}: no release before this one is kept here" in none.stderr
