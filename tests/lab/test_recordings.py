"""The `nvidia-smi` of lab hosts, without a host: what it prints for every recording, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab import LabError, gpus, nvidia_smi
from ollama_fleet.hardware.nvidia_smi import FIELDS, parse

CARDS = [
    name
    for name in gpus.recordings()
    if "failure" not in json.loads((gpus.RECORDED / f"{name}.json").read_text())
]
QUERY = [f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree to install recordings into, which `nvidia_smi` then answers from."""
    for directory in ("usr/share", "usr/bin", "run"):
        (tmp_path / directory).mkdir(parents=True)
    monkeypatch.setattr(nvidia_smi, "DATA", tmp_path / "usr/share/lab-gpus.json")
    monkeypatch.setattr(nvidia_smi, "USED", tmp_path / "run/lab-gpu-used.json")
    return tmp_path


@pytest.mark.parametrize("name", CARDS)
def test_each_recording_is_read_as_the_gpu_of_its_name(
    machine: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus.install(machine, "gpu-01", [name])
    assert nvidia_smi.main(QUERY) == 0
    (device,) = parse(capsys.readouterr().out)
    assert device.kind == name


def test_two_hosts_have_different_gpus_and_one_host_always_the_same(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = []
    for host in ("gpu-01", "gpu-02", "gpu-01"):
        gpus.install(machine, host, ["rtx-4090", "rtx-4090"])
        assert nvidia_smi.main(["-L"]) == 0
        listed.append(capsys.readouterr().out)
    assert listed[0] == listed[2] != listed[1]
    assert listed[0].splitlines()[1].startswith("GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-")
    assert len(set(listed[0].split("UUID: "))) == 3


def test_header_and_units_as_the_real_tool_prints_them(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus.install(machine, "gpu-01", ["rtx-4060-ti-16gb"])
    assert (
        nvidia_smi.main(["--query-gpu=gpu_name,memory.total,power.limit,mig.mode.current", "--format=csv"])
        == 0
    )
    assert capsys.readouterr().out == (
        "name, memory.total [MiB], power.limit [W], mig.mode.current\n"
        "NVIDIA GeForce RTX 4060 Ti, 16380 MiB, 165.00 W, [N/A]\n"
    )


def test_xml_tells_the_same_memory_as_csv(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpus.install(machine, "gpu-01", ["h200", "v100-16gb"])
    assert nvidia_smi.main(["-q", "-x"]) == 0
    log = ET.fromstring(capsys.readouterr().out)
    assert [gpu.findtext("fb_memory_usage/total") for gpu in log.findall("gpu")] == [
        "143771 MiB",
        "16384 MiB",
    ]
    assert nvidia_smi.main(["--query-gpu=memory.free", "--format=csv,noheader"]) == 0
    free = [gpu.findtext("fb_memory_usage/free") for gpu in log.findall("gpu")]
    assert free == capsys.readouterr().out.splitlines()


def test_memory_in_use_lowers_what_is_free_on_that_gpu_only(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus.install(machine, "gpu-01", ["rtx-4090", "rtx-4090"])
    query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    nvidia_smi.main(query)
    before = [int(line) for line in capsys.readouterr().out.splitlines()]
    nvidia_smi.USED.write_text('{"1": 8000}')
    nvidia_smi.main(query)
    after = [int(line) for line in capsys.readouterr().out.splitlines()]
    assert [old - new for old, new in zip(before, after, strict=True)] == [0, 8000]


def test_summary_lines_are_all_of_one_width(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpus.install(machine, "gpu-01", CARDS)
    assert nvidia_smi.main([]) == 0
    _, *table = capsys.readouterr().out.splitlines()
    assert {len(line) for line in table} == {91}


def test_unknown_field_fails_as_the_real_tool_does(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpus.install(machine, "gpu-01", ["rtx-4090"])
    assert nvidia_smi.main(["--query-gpu=index,bogus", "--format=csv"]) == 2
    assert capsys.readouterr().out == 'Field "bogus" is not a valid field to query.\n\n'


@pytest.mark.parametrize(
    "arguments", [["--gpu-reset"], ["-q"], ["dmon"], ["--query-gpu=index", "--format=csv,tsv"]]
)
def test_what_was_not_recorded_is_refused_loudly(
    machine: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    gpus.install(machine, "gpu-01", ["rtx-4090"])
    with pytest.raises(SystemExit) as stopped:
        nvidia_smi.main(arguments)
    assert stopped.value.code == 99
    assert "no recorded answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "status"), [("driver-not-loaded", 9), ("driver-mismatch", 18), ("no-device", 6)]
)
def test_recorded_failures_fail_whatever_is_asked(
    machine: Path, name: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus.install(machine, "gpu-01", [name])
    for arguments in ([], ["-L"], QUERY):
        with pytest.raises(SystemExit) as stopped:
            nvidia_smi.main(arguments)
        assert stopped.value.code == status
        assert capsys.readouterr().out.strip()


def test_a_gpu_that_was_not_recorded_is_an_error_that_names_those_that_were(machine: Path) -> None:
    with pytest.raises(LabError, match=r"rtx-9999.*rtx-4090"):
        gpus.install(machine, "gpu-01", ["rtx-9999"])
