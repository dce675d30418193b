"""The catalogue is consistent, knows what the tutorial names, and recognises what drivers report."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.hardware import candidates, catalogue, identify, names, nearest
from ollama_fleet.hardware.catalogue import GIB, MIB, Gpu

# Kinds of one size that the driver calls by one name: only a declaration can tell them apart.
INDISTINGUISHABLE = {
    frozenset({"jetson-orin-nx-8gb", "jetson-orin-nano-8gb"}),
    frozenset({"mi50-32gb", "mi60"}),
    frozenset({"mi250", "mi250x"}),
}

# GB/s per GiB would be odd outside of these: a GT 1050 has 28, an H100 42, an M3 Ultra with 512 GB 1.6.
LEAST_BANDWIDTH, MOST_BANDWIDTH = 30, 8200

GPUS = list(catalogue().values())
BY_KEY = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)


def test_it_is_large_and_covers_every_maker_and_generation() -> None:
    assert len(GPUS) >= 250
    nvidia = {gpu.compute_capability for gpu in GPUS if gpu.vendor == "nvidia"}
    assert nvidia == {
        *("6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0"),
        *("10.0", "10.3", "11.0", "12.0", "12.1"),
    }
    amd = {gpu.gfx_target for gpu in GPUS if gpu.vendor == "amd"}
    assert amd >= {
        "gfx906",
        "gfx908",
        "gfx90a",
        "gfx942",
        "gfx950",
        "gfx1030",
        "gfx1100",
        "gfx1151",
        "gfx1201",
    }
    assert {gpu.vendor for gpu in GPUS} == {"nvidia", "amd", "apple", "intel"}


@pytest.mark.parametrize(
    ("key", "gib"),
    [
        ("v100-16gb", 16),
        ("rtx-2080-ti-11gb", 11),
        ("rtx-2080-ti-22gb", 22),
        ("rtx-4060-ti-16gb", 16),
        ("rtx-3080-10gb", 10),
        ("rtx-3080-20gb", 20),
        ("rtx-3090", 24),
        ("rtx-4090", 24),
        ("l20", 48),
        ("a100-40gb", 40),
        ("a100-80gb", 80),
        ("rx-7900-xtx", 24),
    ],
)
def test_it_has_every_gpu_that_the_tutorial_names(key: str, gib: int) -> None:
    assert catalogue()[key].memory == gib * GIB


@BY_KEY
def test_an_entry_is_plausible(gpu: Gpu) -> None:
    assert gpu.key == gpu.key.lower()
    assert gpu.key.replace("-", "").isalnum()
    assert gpu.names
    assert gpu.year is not None
    assert 2016 <= gpu.year <= 2026
    assert 2 * GIB <= gpu.memory <= 512 * GIB
    if gpu.memory_reported is not None:
        assert 0.92 <= gpu.memory_reported / gpu.memory <= 1.01
    assert gpu.bandwidth_gb_s is not None
    assert LEAST_BANDWIDTH <= gpu.bandwidth_gb_s <= MOST_BANDWIDTH
    # A token of a model that fills the memory takes between 6 ms (HBM) and 1 s (unified memory).
    assert 0.006 <= gpu.memory / 1e9 / gpu.bandwidth_gb_s <= 1
    assert (gpu.compute_capability is not None) == (gpu.vendor == "nvidia")
    assert (gpu.gfx_target is not None) == (gpu.vendor == "amd")


def test_a_size_in_the_key_is_the_memory() -> None:
    for gpu in GPUS:
        sizes = [part[:-2] for part in gpu.key.split("-") if part.endswith("gb") and part[:-2].isdigit()]
        assert sizes in ([], [str(gpu.memory // GIB)]), gpu.key


def test_laptop_gpus_are_marked() -> None:
    named = {gpu.key for gpu in GPUS for name in gpu.names if "Laptop" in name or "Max-Q Design" in name}
    assert len(named) > 30
    assert all(catalogue()[key].mobile for key in named)


def test_no_two_kinds_report_the_same_name_and_size_but_the_known_ones() -> None:
    claimed: dict[tuple[str, int], set[str]] = {}
    for gpu in GPUS:
        for name in gpu.names:
            claimed.setdefault((name, gpu.memory), set()).add(gpu.key)
    assert {frozenset(keys) for keys in claimed.values() if len(keys) > 1} == INDISTINGUISHABLE


@BY_KEY
def test_what_its_driver_reports_is_recognised(gpu: Gpu) -> None:
    twins = next((keys for keys in INDISTINGUISHABLE if gpu.key in keys), frozenset({gpu.key}))
    for name in gpu.names:
        found = identify(name, gpu.memory_total // MIB)
        assert found is not None
        assert found.key in twins
        assert gpu in candidates(name, gpu.memory_total // MIB)


@pytest.mark.parametrize(
    ("name", "mib", "key"),
    [
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
        ("NVIDIA GeForce RTX 3080", 10240, "rtx-3080-10gb"),
        ("NVIDIA GeForce RTX 3080", 12288, "rtx-3080-12gb"),
        ("NVIDIA GeForce RTX 3080", 20480, "rtx-3080-20gb"),
        ("NVIDIA GeForce RTX 2080 Ti", 11264, "rtx-2080-ti-11gb"),
        ("NVIDIA GeForce RTX 2080 Ti", 22528, "rtx-2080-ti-22gb"),
        ("GeForce RTX 2080 Ti", 11019, "rtx-2080-ti-11gb"),  # a driver before 470
        ("Tesla V100-SXM2-16GB", 16160, "v100-16gb"),  # a driver that leaves out reserved memory
        ("Tesla V100-SXM2-32GB", 32768, "v100-32gb"),
        ("Tesla P40", 22919, "p40"),  # ECC on
        ("NVIDIA RTX 6000 Ada Generation", 46068, "rtx-6000-ada"),  # ECC on
        ("NVIDIA GeForce RTX 4090", 49140, "rtx-4090-48gb"),
        ("nvidia geforce rtx  4090", 24564, "rtx-4090"),
        ("NVIDIA H200", 143771, "h200"),
        ("NVIDIA GB10", 124610, "gb10"),  # MemTotal of the machine
        ("Orin (nvgpu)", 30697, "jetson-agx-orin-32gb"),
        ("Orin (nvgpu)", 7620, "jetson-orin-nano-8gb"),  # the slower of two that look alike
        ("Radeon RX 7900 XT", 20464, "rx-7900-xt"),
        ("Intel(R) Arc(TM) A770 Graphics", 15930, "arc-a770-16gb"),
        ("Apple M3 Max", 98304, "m3-max-96gb"),
    ],
)
def test_memory_decides_between_variants(name: str, mib: int, key: str) -> None:
    found = identify(name, mib)
    assert found is not None
    assert key == found.key


def test_a_neighbouring_size_is_not_a_candidate() -> None:
    found = candidates("NVIDIA GeForce RTX 3080", 10240)
    assert [gpu.key for gpu in found] == ["rtx-3080-10gb"]


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("NVIDIA GeForce RTX 9999", 24576),
        ("NVIDIA GeForce RTX 4090", 16376),  # no such variant
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864),
        ("GRID T4-8Q", 8192),
        ("", 0),
        ("NVIDIA GeForce RTX 4060 Ti", None),  # 8 or 16 GiB
    ],
)
def test_what_is_not_known_is_not_guessed(name: str, mib: int | None) -> None:
    assert identify(name, mib) is None


def test_a_name_without_variants_needs_no_size() -> None:
    found = identify("NVIDIA GeForce RTX 3090", None)
    assert found is not None
    assert found.key == "rtx-3090"


def test_an_apu_may_offer_a_part_of_the_machines_memory() -> None:
    keys = [gpu.key for gpu in candidates("AMD Radeon 8060S Graphics", 63968)]
    assert keys[0] == "radeon-8060s-64gb"
    assert "radeon-8060s-128gb" in keys
    assert "radeon-8060s-32gb" not in keys


@settings(deadline=None)
@given(name=st.text(max_size=80), mib=st.none() | st.integers(min_value=0, max_value=2**24))
def test_identify_never_fails(name: str, mib: int | None) -> None:
    found = identify(name, mib)
    assert found is None or found in candidates(name, mib)


@settings(deadline=None)
@given(gpu=st.sampled_from(GPUS), share=st.floats(min_value=0.93, max_value=1.0))
def test_a_driver_that_keeps_a_little_more_does_not_change_the_kind(gpu: Gpu, share: float) -> None:
    found = candidates(gpu.names[0], int(gpu.memory / MIB * share))
    assert gpu in found
    assert found[0].memory == gpu.memory


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("RTX4090", "rtx-4090"),
        ("rtx_4090", "rtx-4090"),
        ("GeForce RTX 4060 Ti", "rtx-4060-ti-16gb"),
        ("rtx-4060ti-16gb", "rtx-4060-ti-16gb"),
        ("NVIDIA A100", "a100-40gb"),
        ("v100", "v100-16gb"),
        ("7900xtx", "rx-7900-xtx"),
        ("rtx 4900", "rtx-4090"),
        ("H100", "h100-sxm"),
        ("2080ti", "rtx-2080-ti-22gb"),
        ("Intel Arc A770", "arc-a770-16gb"),
    ],
)
def test_the_nearest_words_contain_what_was_meant(written: str, meant: str) -> None:
    assert meant in nearest(written)


def test_a_key_is_nearest_to_itself() -> None:
    assert [nearest(key)[0] for key in names()] == list(names())


@settings(deadline=None)
@given(st.text(max_size=2000))
def test_nearest_gives_keys_and_never_fails(text: str) -> None:
    assert set(nearest(text)) <= set(names())
    assert len(nearest(text)) <= 5


def test_a_word_that_a_key_begins_with_comes_before_one_inside_it() -> None:
    assert nearest("v100")[0] == "v100-16gb"  # and not quadro-gv100


def test_nothing_resembles_nonsense() -> None:
    assert nearest("") == ()
    assert nearest("!!!") == ()
    assert nearest("a cup of coffee") == ()


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        catalogue()["rtx-4090"] = GPUS[0]  # type: ignore[index]


def test_reading_hardware_needs_no_driver_library() -> None:
    """Planning on a CI machine imports this folder; only the reader of the own machine needs NVML."""
    program = "import json, sys, ollama_fleet.hardware; print(json.dumps('pynvml' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
