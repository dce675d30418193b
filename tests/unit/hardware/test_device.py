"""Devices that are declared have what a plan needs and claim nothing that was not measured."""

import pytest

from ollama_fleet.hardware import Device, catalogue, nvidia_smi
from ollama_fleet.hardware.catalogue import MIB


def test_a_declared_gpu_has_the_memory_its_driver_would_report() -> None:
    line = "0, GPU-00000000-0000-0000-0000-000000000000, NVIDIA GeForce RTX 4090, 24564, 24000, 1, 550.1, 8.9"
    [found] = nvidia_smi.parse(line)
    declared = Device.declared("rtx-4090", 0)
    assert declared.memory_total == found.memory_total == 24564 * MIB
    assert declared.kind == found.kind
    assert declared.compute_capability == found.compute_capability


def test_a_declared_gpu_has_nothing_measured() -> None:
    device = Device.declared("rx-7900-xtx", 3)
    assert device.index == 3
    assert device.uuid is None
    assert device.memory_free is None
    assert device.driver is None
    assert device.vendor == "amd"
    assert device.gfx_target == "gfx1100"


def test_every_kind_can_be_declared() -> None:
    for key, gpu in catalogue().items():
        device = Device.declared(key, 0)
        assert device.gpu is gpu
        assert (device.memory_total, device.unified) == (gpu.memory_total, gpu.unified)


def test_a_kind_that_is_not_listed_cannot() -> None:
    with pytest.raises(KeyError):
        Device.declared("rtx-9999", 0)
