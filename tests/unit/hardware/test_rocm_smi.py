"""The readers of AMD's tools take the JSON of their releases and refuse the rest in one line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.hardware import Device, HardwareError
from ollama_fleet.hardware.catalogue import MIB
from ollama_fleet.hardware.rocm_smi import parse_amd_smi, parse_rocm_smi

# ROCm 6.2 on a machine with one card, `--showproductname --showmeminfo vram gtt --showuniqueid
# --showdriverversion`.
RX_7900_XT: dict[str, Any] = {
    "card0": {
        "Unique ID": "0x2d6e8afd5a1e0cf4",
        "VRAM Total Memory (B)": "21458059264",
        "VRAM Total Used Memory (B)": "27856896",
        "GTT Total Memory (B)": "33548742656",
        "GTT Total Used Memory (B)": "14950400",
        "Card Series": "Radeon RX 7900 XT",
        "Card Model": "0x744c",
        "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
        "Card SKU": "D70401XT",
        "Subsystem ID": "0x471e",
        "Device Rev": "0xcc",
        "Node ID": "1",
        "GUID": "26967",
        "GFX Version": "gfx1100",
    },
    "system": {"Driver version": "6.8.5"},
}

# amd-smi of ROCm 7: `static --asic --vram --driver --json` and `metric --mem-usage --json`.
MI300X_STATIC: dict[str, Any] = {
    "gpu_data": [
        {
            "gpu": index,
            "asic": {
                "market_name": "AMD Instinct MI300X",
                "vendor_id": "0x1002",
                "vendor_name": "Advanced Micro Devices Inc. [AMD/ATI]",
                "subvendor_id": "0x1002",
                "device_id": "0x74a1",
                "subsystem_id": "0x74a1",
                "rev_id": "0x00",
                "asic_serial": f"0x7F0B8D4E2C1A369{index}",
                "oam_id": index,
                "num_compute_units": 304,
                "target_graphics_version": "gfx942",
            },
            "driver": {"name": "amdgpu", "version": "6.14.14"},
            "vram": {
                "type": "HBM3",
                "vendor": "HYNIX",
                "size": {"value": 196592, "unit": "MB"},
                "bit_width": 8192,
                "max_bandwidth": "N/A",
            },
        }
        for index in range(2)
    ]
}
MI300X_METRIC: dict[str, Any] = {
    "gpu_data": [
        {
            "gpu": index,
            "mem_usage": {
                "total_vram": {"value": 196592, "unit": "MB"},
                "used_vram": {"value": used, "unit": "MB"},
                "free_vram": {"value": 196592 - used, "unit": "MB"},
                "total_visible_vram": {"value": 196592, "unit": "MB"},
                "used_visible_vram": "N/A",
                "free_visible_vram": "N/A",
                "total_gtt": {"value": 1031772, "unit": "MB"},
                "used_gtt": {"value": 27, "unit": "MB"},
                "free_gtt": {"value": 1031745, "unit": "MB"},
            },
        }
        for index, used in ((0, 17153), (1, 284))
    ]
}


def test_rocm_smi_of_one_card() -> None:
    [device] = parse_rocm_smi(json.dumps(RX_7900_XT))
    assert (device.index, device.name, device.kind) == (0, "Radeon RX 7900 XT", "rx-7900-xt")
    assert device.uuid == "GPU-2d6e8afd5a1e0cf4"
    assert device.memory_total == 21458059264
    assert device.memory_free == 21458059264 - 27856896
    assert device.driver == "6.8.5"
    assert device.gfx_target == "gfx1100"
    assert device.compute_capability is None
    assert device.vendor == "amd"
    assert not device.unified


def test_rocm_smi_remarks_before_the_answer_are_skipped() -> None:
    remark = (
        "\nWARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status\n\n"
    )
    assert parse_rocm_smi(remark + json.dumps(RX_7900_XT)) == parse_rocm_smi(json.dumps(RX_7900_XT))


def test_rocm_smi_of_older_releases_spells_keys_otherwise_and_names_the_chip() -> None:
    old = {
        "card1": {
            "vram Total Memory (B)": "25753026560",
            "vram Total Used Memory (B)": "1073741824",
            "Unique ID": "N/A",
            "Card series": "Navi 31 [Radeon RX 7900 XT/7900 XTX]",
        },
        "card0": {"VRAM Total Memory (B)": "17163091968", "Card series": "Radeon RX 6800 XT"},
    }
    first, second = parse_rocm_smi(json.dumps(old))
    assert (first.index, first.kind, first.memory_free, first.driver) == (0, "rx-6800-xt", None, None)
    assert (second.index, second.kind, second.uuid) == (1, "rx-7900-xtx", None)
    assert second.gfx_target == "gfx1100"


@pytest.mark.parametrize(
    ("series", "vram", "kind"),
    [
        ("AMD Instinct MI60 / MI50", 16368, "mi50-16gb"),
        ("AMD Instinct MI60 / MI50", 32752, "mi50-32gb"),
        ("Vega 20 [Radeon Pro VII/Radeon Instinct MI50 32GB]", 32752, "mi50-32gb"),
        ("Navi 22 [Radeon RX 6700/6700 XT/6750 XT / 6800M/6850M XT]", 12272, "rx-6700-xt"),
        ("AMD Instinct MI210", 65520, "mi210"),
        ("AMD Radeon Graphics", 512, None),
    ],
)
def test_series_names(series: str, vram: int, kind: str | None) -> None:
    card = {"Card Series": series, "VRAM Total Memory (B)": str(vram * MIB)}
    [device] = parse_rocm_smi(json.dumps({"card0": card}))
    assert device.kind == kind


def test_a_target_that_contradicts_the_name_makes_the_kind_unknown() -> None:
    changed = {"card0": RX_7900_XT["card0"] | {"GFX Version": "gfx1201"}}
    [device] = parse_rocm_smi(json.dumps(changed))
    assert (device.kind, device.gfx_target) == (None, "gfx1201")


def test_an_apus_memory_is_what_the_kernel_lets_it_map_if_that_is_more() -> None:
    card = {
        "Card Series": "Radeon 8060S Graphics",
        "GFX Version": "gfx1151",
        "VRAM Total Memory (B)": str(4 * 2**30),
        "VRAM Total Used Memory (B)": str(2**30),
        "GTT Total Memory (B)": "103079215104",
        "GTT Total Used Memory (B)": "79215104",
    }
    [device] = parse_rocm_smi(json.dumps({"card0": card}))
    assert device.unified
    assert device.kind == "radeon-8060s-96gb"
    assert (device.memory_total, device.memory_free) == (103079215104, 103000000000)

    carved_out = card | {"VRAM Total Memory (B)": str(96 * 2**30), "GTT Total Memory (B)": str(16 * 2**30)}
    [device] = parse_rocm_smi(json.dumps({"card0": carved_out}))
    assert (device.memory_total, device.memory_free) == (96 * 2**30, 95 * 2**30)


def test_a_cards_memory_is_not_the_machines_however_much_that_is() -> None:
    [device] = parse_rocm_smi(json.dumps(RX_7900_XT))
    assert device.memory_total < int(RX_7900_XT["card0"]["GTT Total Memory (B)"])


def test_amd_smi_of_two_gpus() -> None:
    first, second = parse_amd_smi(json.dumps(MI300X_STATIC), json.dumps(MI300X_METRIC))
    assert (first.index, first.kind, first.memory_total) == (0, "mi300x", 196592 * MIB)
    assert first.memory_free == (196592 - 17153) * MIB
    assert second.memory_free == (196592 - 284) * MIB
    assert first.uuid == "GPU-7f0b8d4e2c1a3690"
    assert first.driver == "6.14.14"
    assert first.gfx_target == "gfx942"


def test_amd_smi_before_release_7_printed_the_bare_list() -> None:
    bare = json.dumps(MI300X_STATIC["gpu_data"])
    assert parse_amd_smi(bare) == parse_amd_smi(json.dumps(MI300X_STATIC))


def test_amd_smi_without_metrics_does_not_know_what_is_free() -> None:
    assert [device.memory_free for device in parse_amd_smi(json.dumps(MI300X_STATIC))] == [None, None]


@pytest.mark.parametrize("size", [24560, "24560 MB", {"value": 24560, "unit": "MB"}])
def test_amd_smi_sizes_of_several_forms(size: object) -> None:
    entry = {"gpu": 0, "asic": {"market_name": "AMD Radeon RX 7900 XTX"}, "vram": {"size": size}}
    [device] = parse_amd_smi(json.dumps([entry]))
    assert (device.kind, device.memory_total) == ("rx-7900-xtx", 24560 * MIB)


def test_more_free_than_there_is_is_not_believed() -> None:
    usage = {"total_vram": 1000, "free_vram": 1001}
    metric = json.dumps([{"gpu": 0, "mem_usage": usage}, {"gpu": 1, "mem_usage": usage}])
    assert [device.memory_free for device in parse_amd_smi(json.dumps(MI300X_STATIC), metric)] == [None, None]


def test_no_text_is_no_gpu() -> None:
    assert parse_rocm_smi("") == []
    assert parse_amd_smi("\n") == []
    assert parse_rocm_smi("{}") == []


@pytest.mark.parametrize(
    ("printed", "advice"),
    [
        (
            "cat: /sys/module/amdgpu/initstate: No such file or directory\n"
            "ERROR:root:Driver not initialized (amdgpu not found in modules)\n",
            "modprobe amdgpu",
        ),
        ("sh: 1: rocm-smi: command not found\n", "install"),
        ("Invalid platform\n", "/opt/rocm/bin"),
        ("WARNING:root:No JSON data to report\n", "no JSON"),
        ('{"card0": {"VRAM Total', "no JSON"),
        ("[1, 2]", "no cards"),
        (
            '{"card0": {"Card Series": "Radeon VII", "VRAM Total Memory (B)": "None"}}',
            "GPU 0 .Radeon VII.*size",
        ),
        ('{"card0": {"Card Series": "Radeon VII", "VRAM Total Memory (B)": "-5"}}', "size"),
        ('{"card0": {"Card Series": "$(reboot)", "VRAM Total Memory (B)": "17163091968"}}', "names GPU 0"),
        ('{"card0": 5}', "GPU 0.*size"),
        ("[" * 100_000, "no JSON"),
        ('{"card0": {"VRAM Total Memory (B)": ' + "9" * 10_000 + "}}", "no JSON"),
    ],
)
def test_a_failure_of_rocm_smi_is_one_line(printed: str, advice: str) -> None:
    with pytest.raises(HardwareError, match=advice) as caught:
        parse_rocm_smi(printed)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("printed", "advice"),
    [
        (
            "ERROR:root:Unable to get devices, driver not initialized (amdgpu not found in modules)\n",
            "modprobe",
        ),
        ('{"gpu_data": 5}', "no list"),
        ('{"gpu_data": [{"gpu": "N/A"}]}', "number of its own"),
        ('[{"gpu": 0, "vram": {"size": {"value": 5, "unit": "MB"}}}, {"gpu": 0}]', "number of its own"),
        ('[{"gpu": 0, "vram": {"size": "N/A"}}]', "GPU 0.*size"),
        ('[{"gpu": 0, "vram": {"size": {"value": 5, "unit": "furlong"}}}]', "GPU 0.*size"),
    ],
)
def test_a_failure_of_amd_smi_is_one_line(printed: str, advice: str) -> None:
    with pytest.raises(HardwareError, match=advice) as caught:
        parse_amd_smi(printed)
    assert str(caught.value).isprintable()


KEYS = st.sampled_from(
    [
        *(
            "card0",
            "card1",
            "system",
            "gpu",
            "gpu_data",
            "asic",
            "vram",
            "size",
            "value",
            "unit",
            "market_name",
        ),
        *(
            "VRAM Total Memory (B)",
            "GTT Total Memory (B)",
            "Card Series",
            "asic_serial",
            "mem_usage",
            "total_vram",
        ),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["MB", "N/A", "17163091968", "Radeon 8060S Graphics", "0x0", "gfx1151", "AMD Radeon VII"]
    ),
    st.text(max_size=20),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(text=st.one_of(st.text(max_size=200), DOCUMENTS.map(json.dumps)))
def test_any_text_is_devices_or_one_line(text: str) -> None:
    for read in (
        parse_rocm_smi,
        parse_amd_smi,
        lambda metric: parse_amd_smi(json.dumps(MI300X_STATIC), metric),
    ):
        devices, refusal = outcome(read, text)
        assert refusal.isprintable()
        for device in devices:
            assert 0 < device.memory_total <= 2**44
            assert device.memory_free is None or 0 <= device.memory_free <= device.memory_total


def outcome(read: Callable[[str], list[Device]], text: str) -> tuple[list[Device], str]:
    try:
        return read(text), ""
    except HardwareError as error:
        return [], str(error)
