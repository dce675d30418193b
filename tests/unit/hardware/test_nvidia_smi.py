"""The reader of nvidia-smi takes what the tool prints on real machines and refuses the rest in one line."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.hardware import Device, HardwareError, catalogue, nvidia_smi
from ollama_fleet.hardware.catalogue import MIB, Gpu
from ollama_fleet.hardware.cpu import HostMemory

UUID = "GPU-1ffe36ef-ac55-60ad-f9cf-623871e7736d"
OTHER_UUID = "GPU-5206045b-2a1c-1e7d-6c60-d7c367d02376"
RTX_4090 = f"0, {UUID}, NVIDIA GeForce RTX 4090, 24564, 24077, 2, 550.127.08, 8.9, [N/A]"
TWO = RTX_4090 + f"\n1, {OTHER_UUID}, NVIDIA GeForce RTX 4060 Ti, 16380, 15987, 4, 550.127.08, 8.9, [N/A]\n"


def test_a_machine_with_two_gpus() -> None:
    first, second = nvidia_smi.parse(TWO)
    assert (first.index, first.uuid, first.name) == (0, UUID, "NVIDIA GeForce RTX 4090")
    assert first.kind == "rtx-4090"
    assert first.memory_total == 24564 * MIB
    assert first.memory_free == 24077 * MIB
    assert first.driver == "550.127.08"
    assert first.compute_capability == "8.9"
    assert first.vendor == "nvidia"
    assert not first.unified
    assert (second.index, second.kind) == (1, "rtx-4060-ti-16gb")


def test_a_data_centre_gpu() -> None:
    line = f"0, {UUID}, NVIDIA H200, 143771, 143159, 0, 580.159.03, 9.0, Disabled"
    [device] = nvidia_smi.parse(line)
    assert (device.kind, device.memory_total) == ("h200", 143771 * MIB)


def test_windows_line_ends_and_units_make_no_difference() -> None:
    printed = TWO.replace("\n", "\r\n").replace(", 24564, 24077, 2,", ", 24564 MiB, 24077 MiB, 2 MiB,")
    assert nvidia_smi.parse(printed) == nvidia_smi.parse(TWO)


def test_an_old_driver_is_asked_again_and_the_catalogue_tells_the_capability() -> None:
    printed = (
        'Field "compute_cap" is not a valid field to query.\n\n'
        f"0, {UUID}, Tesla V100-SXM2-16GB, 16160, 16150, 10, 418.87.01\n"
    )
    [device] = nvidia_smi.parse(printed)
    assert (device.kind, device.driver, device.compute_capability) == ("v100-16gb", "418.87.01", "7.0")


def test_an_old_driver_alone_is_told() -> None:
    with pytest.raises(HardwareError, match="older than the query"):
        nvidia_smi.parse('Field "compute_cap" is not a valid field to query.\n')


def test_a_gpu_that_is_not_in_the_catalogue_is_still_a_device() -> None:
    [device] = nvidia_smi.parse(f"0, {UUID}, NVIDIA GeForce RTX 9090, 65536, 60000, 1, 999.10, 13.0, [N/A]")
    assert device.kind is None
    assert device.memory_total == 65536 * MIB
    assert device.compute_capability == "13.0"


def test_free_memory_that_is_not_told_is_what_is_not_used() -> None:
    [device] = nvidia_smi.parse(f"0, {UUID}, NVIDIA GeForce RTX 3090, 24576, [N/A], 576, 550.54, 8.6")
    assert device.memory_free == 24000 * MIB


@pytest.mark.parametrize("nothing", ["[N/A]", "N/A", "[Not Supported]", "ERR!", "[Unknown Error]", ""])
def test_values_that_a_gpu_does_not_tell_are_unknown(nothing: str) -> None:
    line = f"0, {nothing}, NVIDIA GeForce GTX 1050 Ti, 4096, {nothing}, {nothing}, {nothing}, {nothing}"
    [device] = nvidia_smi.parse(line)
    assert device.uuid is None
    assert device.memory_free is None
    assert device.driver is None
    assert device.compute_capability == "6.1"


def test_a_remark_beside_the_answer_is_skipped() -> None:
    printed = RTX_4090 + "\nWARNING: infoROM is corrupted at gpu 0000:02:00.0\n"
    assert nvidia_smi.parse(printed) == nvidia_smi.parse(RTX_4090)


def test_no_text_is_no_gpu() -> None:
    assert nvidia_smi.parse("") == []
    assert nvidia_smi.parse("\n \n") == []


# -- unified memory
# ----------------------------------------------------------------------------------------------

GB10 = f"0, {UUID}, NVIDIA GB10, [N/A], [N/A], [N/A], 580.126.09, 12.1, [N/A]"
SPARK = HostMemory(total=127600748 * 1024, available=118566368 * 1024)


def test_unified_memory_is_the_machines() -> None:
    [device] = nvidia_smi.parse(GB10, SPARK)
    assert device.kind == "gb10"
    assert device.unified
    assert (device.memory_total, device.memory_free) == (SPARK.total, SPARK.available)


def test_a_jetson_is_told_by_the_machines_memory() -> None:
    line = "0, 54eb6f1d-2b5c-5d5f-8d5b-5d1f0e5d2c11, Orin (nvgpu), [N/A], [N/A], [N/A], 540.4.0, 8.7, [N/A]"
    [device] = nvidia_smi.parse(line, HostMemory(total=30697 * MIB, available=25000 * MIB))
    assert device.kind == "jetson-agx-orin-32gb"


def test_unified_memory_needs_the_machines_size() -> None:
    with pytest.raises(HardwareError, match=r"GB10.*meminfo"):
        nvidia_smi.parse(GB10)


# -- failures
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "advice"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
            "the latest NVIDIA driver is installed and running.\n",
            "modprobe nvidia",
        ),
        (
            "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.127\n",
            "reboot",
        ),
        ("Failed to initialize NVML: Unknown Error\n", "/dev/nvidia"),
        ("Failed to initialize NVML: Insufficient Permissions\n", "permissions of /dev/nvidia"),
        ("Failed to initialize NVML: GPU access blocked by the operating system\n", "Windows host"),
        ("No devices were found\n", "finds no GPU"),
        ("Unable to determine the device handle for GPU0000:CB:00.0: Unknown Error\n" + TWO, "Xid"),
        (f"0, {UUID}, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]\n", "Xid"),
        ("sh: 1: nvidia-smi: command not found\n", "install the NVIDIA driver"),
        (
            "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the "
            "NVIDIA Display Driver is properly installed and present in your system.\n",
            "install the NVIDIA driver",
        ),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, ERR!, ERR!, ERR!, 535.1.1, 8.6\n", "RTX 3090.*Xid"),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, 0, 0, 0, 535.1.1, 8.6\n", "RTX 3090.*Xid"),
        (
            f"0, {UUID}, NVIDIA A100-SXM4-80GB, [Insufficient Permissions], [Insufficient Permissions], "
            "[Insufficient Permissions], 535.161.08, 8.0, [N/A]\n",
            "A100-SXM4-80GB.*MIG",
        ),
        (f"3, {UUID}, NVIDIA A100-SXM4-40GB, 40960, 40000, 9, 535.161.08, 8.0, Enabled\n", "-i 3 -mig 0"),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, 24576, 24577, 1, 535.1.1, 8.6\n", "24577 MiB free"),
        (TWO + TWO, "GPU 0 twice"),
        (RTX_4090 + "\n" + RTX_4090.replace("0,", "1,", 1), f"{UUID} twice"),
        ("Thu Jun 13 20:19:31 2024\n", "line 1 is not one of a GPU"),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, many, 1, 1, 535.1.1, 8.6\n", "memory.total is 'many'"),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, -5, 1, 1, 535.1.1, 8.6\n", "memory.total"),
        (f"0, {UUID}, NVIDIA GeForce RTX 3090, 99999999, 1, 1, 535.1.1, 8.6\n", "memory.total"),
        (f"0, {UUID}; reboot, NVIDIA GeForce RTX 3090, 24576, 1, 1, 535.1.1, 8.6\n", "uuid"),
        (f"0, {UUID}, $(reboot), 24576, 1, 1, 535.1.1, 8.6\n", "name"),
        (f"0, {UUID}, \x1b[2J RTX, 24576, 1, 1, 535.1.1, 8.6\n", "name"),
        (f"[N/A], {UUID}, NVIDIA GeForce RTX 3090, 24576, 1, 1, 535.1.1, 8.6\n", "no index"),
    ],
)
def test_a_failure_is_one_line_with_what_to_do(printed: str, advice: str) -> None:
    with pytest.raises(HardwareError, match=advice) as caught:
        nvidia_smi.parse(printed)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_endless_output_is_refused() -> None:
    with pytest.raises(HardwareError, match="not the answer"):
        nvidia_smi.parse("x" * 2_000_000)


# -- the query
# ---------------------------------------------------------------------------------------------------


def test_the_query_for_old_drivers_asks_for_what_came_first() -> None:
    assert nvidia_smi.QUERY[1].startswith(nvidia_smi.QUERY_OLD_DRIVER[1] + ",compute_cap")


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_the_shell_form_of_the_query_falls_back(tmp_path: Path) -> None:
    """A tool of an old driver refuses the first query, as release 418 does, and answers the second."""
    tool = tmp_path / "nvidia-smi"
    answer = f"0, {UUID}, Tesla P40, 22919, 22900, 0, 418.87.01"
    refusal = 'Field "compute_cap" is not a valid field to query.'
    tool.write_text(
        f"#!/bin/sh\ncase \"$*\" in *compute_cap*) echo '{refusal}'; exit 2 ;; esac\necho '{answer}'\n"
    )
    tool.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", nvidia_smi.SHELL_QUERY],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    [device] = nvidia_smi.parse(done.stdout)
    assert (device.kind, device.compute_capability) == ("p40", "6.1")


# -- any text
# ----------------------------------------------------------------------------------------------------

SCRAPS = st.sampled_from(
    [
        *(
            "0",
            "1",
            "24564",
            "[N/A]",
            "ERR!",
            "[Not Supported]",
            "Enabled",
            "8.9",
            "550.54",
            "MiB",
            "NVIDIA GB10",
        ),
        *(
            "NVIDIA GeForce RTX 3080",
            UUID,
            ",",
            ", ",
            "\n",
            " ",
            "\x00",
            "\u2028",
            "Failed to initialize NVML",
            "-1",
        ),
    ]
)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=300), st.lists(SCRAPS, max_size=40).map("".join)))
def test_any_text_is_devices_or_one_line(text: str) -> None:
    devices, refusal = outcome(text)
    assert refusal.isprintable()
    for device in devices:
        assert device.memory_total > 0
        assert device.memory_free is None or device.memory_free <= device.memory_total
        assert device.name.isprintable()


def outcome(text: str) -> tuple[list[Device], str]:
    try:
        return nvidia_smi.parse(text, SPARK), ""
    except HardwareError as error:
        return [], str(error)


DISCRETE = [gpu for gpu in catalogue().values() if gpu.vendor == "nvidia" and not gpu.unified]


@settings(deadline=None)
@given(
    gpu=st.sampled_from(DISCRETE),
    index=st.integers(min_value=0, max_value=1023),
    uuid=st.uuids(),
    free=st.floats(min_value=0, max_value=1),
)
def test_what_a_known_gpu_prints_is_read_back(gpu: Gpu, index: int, uuid: object, free: float) -> None:
    total = gpu.memory_total // MIB
    left = int(total * free)
    line = f"{index}, GPU-{uuid}, {gpu.names[0]}, {total}, {left}, {total - left}, 580.95.05, 8.9, [N/A]"
    [device] = nvidia_smi.parse(line)
    assert (device.index, device.uuid, device.kind) == (index, f"GPU-{uuid}", gpu.key)
    assert (device.memory_total, device.memory_free) == (total * MIB, left * MIB)
