"""A Windows host with a GPU that is played: found by `nvidia-smi`, planned for, and proven to be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from ollama_sim.build import build_windows_release
from windows.conftest import HOST
from windows.host import WindowsHost

WITH_GPU = "0.24.6"
UUID = "GPU-11111111-2222-4333-8444-555555555555"
MIB = 24564
CARD = {
    "index": "0",
    "uuid": UUID,
    "name": "NVIDIA GeForce RTX 4090",
    "memory.total": str(MIB),
    "driver_version": "551.86",
    "compute_cap": "8.9",
    "mig.mode.current": "[N/A]",
}


@pytest.fixture(scope="module")
def with_gpu(
    first: Run,
    desk_fleet: FleetDirectory,
    windows_host: WindowsHost,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FleetDirectory]:
    """The host serves from a GPU; afterwards it is as it was."""
    used = windows_host.folder / "used.json"
    played = {
        "gpus": [{"name": CARD["name"], "uuid": UUID, "memory_bytes": MIB << 20, "free_bytes": MIB << 20}],
        "report_used": str(used),
    }
    source = tmp_path_factory.mktemp("with-gpu")
    for architecture in ("amd64", "arm64"):
        build_windows_release(WITH_GPU, architecture, source, played)  # type: ignore[arg-type]
    windows_host.play_gpus({"gpus": [CARD], "used": str(used)})
    before = desk_fleet.document
    desk_fleet.change(
        release={"version": WITH_GPU, "source": f"file://{source}"},
        hosts={HOST: {"gpus": "auto"}},
        models={"reasoner": {"num_gpu": "auto"}},
    )
    desk_fleet.lock()
    run = desk_fleet.apply()
    assert windows_host.missing() == [], str(run)
    assert run.code == 0, str(run)
    yield desk_fleet
    windows_host.play_gpus(None)
    desk_fleet.document = before
    desk_fleet.write()
    desk_fleet.lock()
    assert desk_fleet.apply().code == 0


def test_verify_measures_the_memory_of_the_card(with_gpu: FleetDirectory, windows_host: WindowsHost) -> None:
    run = with_gpu.run("ollama-fleet", "verify", "--depth", "full", "--json")
    assert windows_host.missing() == [], str(run)
    assert run.code == 0, str(run)
    assert with_gpu.drift().code == 0


def test_doctor_tells_the_card_and_its_driver(with_gpu: FleetDirectory) -> None:
    run = with_gpu.run("ollama-fleet", "doctor", "--json")
    checks = {one["check"]: one for one in run.document["hosts"][HOST]["checks"]}
    assert checks["driver"]["found"] == "rtx-4090, driver 551.86", str(run)


def test_a_driver_that_does_not_answer_stops_the_apply(
    with_gpu: FleetDirectory, windows_host: WindowsHost, tmp_path: Path
) -> None:
    told = (windows_host.folder / "gpus.json").read_text()
    windows_host.play_gpus(
        {"fails": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."}
    )
    run = with_gpu.apply()
    (windows_host.folder / "gpus.json").write_text(told)
    assert run.code == 1, str(run)
    (line,) = [line for line in run.told(HOST) if line.startswith("the GPUs cannot be read: ")]
    assert "driver" in line
    assert "Traceback" not in run.text
