"""All models of a host, decided together, offline and live."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import gpus, nvidia_smi
from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.nvidia_smi import FIELDS, parse
from ollama_fleet.planner.decision import Decisions
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions, planned_devices
from ollama_fleet.spec.hosts import HostSpec
from unit.deploys.test_locking import fleet_of
from unit.planner.fleets import BEFORE, SINCE, decisions, host_of, lock_entry

MIXED: dict[str, dict[str, Any]] = {
    "reasoner": {
        "from": "deepseek-r1:32b",
        "num_ctx": 8192,
        "num_ctx_min": 4096,
        "quantization": "auto",
        "num_gpu": "auto",
        "variants": {"IQ3_M": "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M"},
        "per_gpu": {"rtx-4060-ti-16gb": {"quantization": "IQ3_M", "num_gpu": 60, "num_ctx": 4096}},
        "preload": True,
    },
    "small": {"from": "deepseek-r1:7b", "num_ctx": 4096, "num_gpu": "auto", "preload": True},
    "other": {"from": "deepseek-r1:14b", "num_ctx": 8192, "num_gpu": "auto", "quantization": "auto"},
}

Found = Callable[..., list[Device]]


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Found:
    """`found(*names, used={index: MiB})`: the GPUs of a recorded machine, as nvidia-smi tells them."""
    for directory in ("usr/share", "usr/bin", "run"):
        (tmp_path / directory).mkdir(parents=True)
    monkeypatch.setattr(nvidia_smi, "DATA", tmp_path / "usr/share/lab-gpus.json")
    monkeypatch.setattr(nvidia_smi, "USED", tmp_path / "run/lab-gpu-used.json")

    def ask(*names: str, used: dict[int, int] | None = None) -> list[Device]:
        gpus.install(tmp_path, "pc", names)
        (tmp_path / "run/lab-gpu-used.json").write_text(json.dumps(used or {}))
        assert nvidia_smi.main([f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]) == 0
        return parse(capsys.readouterr().out)

    return ask


@pytest.mark.parametrize(
    "kinds",
    [
        ["rtx-4090"],
        ["rtx-4060-ti-16gb"],
        ["rtx-3090", "rtx-3090"],
        ["rtx-4090", "rtx-4060-ti-16gb"],
        ["a100-80gb"],
        ["v100-16gb"],
    ],
    ids="+".join,
)
@pytest.mark.parametrize("release", [BEFORE, SINCE])
def test_offline_live_and_while_models_are_loaded_the_same_is_decided(
    found: Found, kinds: list[str], release: str
) -> None:
    offline = decisions(MIXED, kinds, release=release)
    busy = dict.fromkeys(range(len(kinds)), 12_000)

    assert decisions(MIXED, "auto", release=release, devices=found(*kinds)) == offline
    assert decisions(MIXED, "auto", release=release, devices=found(*kinds, used=busy)) == offline
    spec = host_of(MIXED, kinds, release=release)
    live = host_decisions(spec, planned_devices(spec, found(*kinds, used=busy), None), Lock())
    assert {item.resolved.name: item.decision for item in live} == offline


def test_settings_of_a_kind_of_gpu_are_taken_where_that_kind_is_found(found: Found) -> None:
    reasoner = decisions(MIXED, "auto", devices=found("rtx-4060-ti-16gb"))["reasoner"]

    assert reasoner.candidate.quantization == "IQ3_M"
    assert (reasoner.num_gpu, reasoner.num_ctx) == (60, 4096)


def test_models_stand_in_the_order_of_the_file() -> None:
    models = {name: {**MIXED["small"], "preload": name in "bd"} for name in "dcba"}

    assert list(decisions(models, ["rtx-4090"])) == list("dcba")


def preloaded(*bases: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {
        f"m{place}": {"from": base, "num_ctx": 4096, "num_gpu": "auto", "preload": True, **more}
        for place, base in enumerate(bases)
    }


def test_preloaded_models_share_the_gpu() -> None:
    alone = decisions(preloaded("deepseek-r1:14b"), ["rtx-4090"])["m0"].estimate
    both = decisions(preloaded("deepseek-r1:14b", "deepseek-r1:7b"), ["rtx-4090"])
    first, second = both["m0"].estimate, both["m1"].estimate
    assert alone is not None
    assert first is not None
    assert second is not None

    assert first == alone
    buffers = first.devices[0].total - first.devices[0].reserve
    assert second.devices[0].free == first.devices[0].free - buffers
    assert second.full


def test_a_preloaded_model_gives_way_to_the_one_before_it() -> None:
    first, second = decisions(preloaded("deepseek-r1:32b", "deepseek-r1:14b"), ["rtx-4090"]).values()
    assert first.estimate is not None
    assert second.estimate is not None

    assert first.estimate.full
    assert second.estimate.layers_offloaded < second.estimate.layers_total


def test_preloaded_models_that_do_not_fit_together_are_told() -> None:
    models = preloaded("deepseek-r1:32b", "deepseek-r1:14b")
    models["m1"]["num_gpu"] = 49
    first, second = decisions(models, ["rtx-4090"]).values()

    assert first.fits
    assert not second.fits
    assert "rtx-4090" in second.remarks[0]


def test_a_model_that_comes_and_goes_may_have_the_gpu_for_itself_and_what_it_evicts_is_told() -> None:
    models = preloaded("deepseek-r1:14b", "deepseek-r1:32b", "deepseek-r1:1.5b")
    models["m1"]["preload"] = models["m2"]["preload"] = False
    large = decisions(models, ["rtx-4090"])["m1"]
    small = decisions(models, ["rtx-4090"])["m2"]

    assert large.estimate is not None
    assert large.estimate.full
    assert large.remarks == ("loading it takes a preloaded model out of the GPU's memory",)
    assert small.remarks == ()


@settings(max_examples=30, deadline=None)
@given(
    bases=st.lists(st.sampled_from(["1.5b", "7b", "8b", "14b", "32b"]), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from(["rtx-4090", "rtx-3060-12gb", "a100-80gb"]), min_size=1, max_size=2),
    release=st.sampled_from([BEFORE, SINCE]),
)
def test_preloaded_models_that_fit_each_fit_together(
    bases: Sequence[str], kinds: list[str], release: str
) -> None:
    models = preloaded(*(f"deepseek-r1:{size}" for size in bases))
    decided = decisions(models, kinds, release=release)

    assert decided == decisions(models, kinds, release=release)
    assert all(decision.fits for decision in decided.values())
    empty = decisions(preloaded("deepseek-r1:1.5b"), kinds, release=release)["m0"].estimate
    assert empty is not None
    for place, device in enumerate(empty.devices):
        estimates = [decision.estimate for decision in decided.values() if decision.estimate]
        buffers = [estimate.devices[place].total - estimate.devices[place].reserve for estimate in estimates]
        assert sum(buffers) <= device.free


def test_a_declared_gpu_must_be_there(found: Found) -> None:
    spec = host_of(MIXED, ["rtx-4090", "rtx-4090"])

    for there in (["rtx-4090"], ["rtx-4090", "rtx-3090"]):
        with pytest.raises(PlanError) as caught:
            planned_devices(spec, found(*there), None)
        message = str(caught.value)
        assert "gpus: rtx-4090 declared, but found: NVIDIA GeForce RTX 4090" in message
        assert message.startswith("fleet.yaml:1:")
        assert "\n" not in message
    assert len(planned_devices(spec, found("rtx-4090", "rtx-4090", "rtx-3090"), None)) == 2


def test_why_no_gpu_was_found_is_told_with_the_one_that_is_missing() -> None:
    with pytest.raises(PlanError, match="rtx-4090 declared, but found: the driver is not loaded"):
        planned_devices(host_of(MIXED, ["rtx-4090"]), [], "the driver is not loaded")


def test_gpus_of_one_name_and_size_are_told_apart_by_what_was_declared(found: Found) -> None:
    (device,) = found("rtx-3090")
    assert planned_devices(host_of(MIXED, ["rtx-3090"]), [device], None)[0].kind == "rtx-3090"


def test_only_a_host_that_declares_nothing_is_unknown_offline() -> None:
    assert declared_devices(host_of(MIXED, "auto")) is None
    assert declared_devices(host_of(MIXED, [])) == ()


def test_without_a_gpu_all_is_decided_for_the_cpu() -> None:
    for decision in decisions(MIXED, []).values():
        assert decision.num_gpu == 0
        assert decision.estimate is not None
        assert decision.estimate.devices == ()


def test_the_work_does_not_grow_with_the_lock() -> None:
    """Counted in calls, not in seconds: a rack shares one lock, which every model of every host is looked up in."""
    models = preloaded("deepseek-r1:7b", "deepseek-r1:14b", quantization="auto")
    spec = host_of(models, ["rtx-4090"])
    devices = declared_devices(spec)
    assert devices is not None

    def calls(locked: int) -> int:
        lock = Lock()
        known = find_model(ModelName.parse("deepseek-r1:7b"))
        assert known is not None
        for name in ("deepseek-r1:7b", *(f"somebody/model-{number}" for number in range(locked))):
            lock = lock.with_model(ModelName.parse(name), lock_entry(known.facts.to_dict()))
        host_decisions(spec, devices, lock)  # what is read once is read
        count = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(count_call)
        try:
            host_decisions(spec, devices, lock)
        finally:
            sys.setprofile(before)
        return count

    assert calls(40) <= calls(1) * 1.02


@settings(max_examples=20, deadline=None)
@given(
    machines=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["rtx-4090", "rtx-4060-ti-16gb", "rtx-3090"]), max_size=2),
            st.sampled_from([None, {"num_ctx": 5000}, {"quantization": "Q4_K_M", "num_ctx": 4096}]),
            st.sampled_from(["f16", "q8_0"]),
        ),
        min_size=2,
        max_size=5,
    )
)
def test_a_host_is_decided_the_same_among_others_as_alone(
    machines: list[tuple[list[str], dict[str, Any] | None, str]],
) -> None:
    hosts = {
        f"h{place}": {
            "gpus": kinds,
            "env": {"OLLAMA_KV_CACHE_TYPE": kv_type, "OLLAMA_FLASH_ATTENTION": True},
            "models": {**dict.fromkeys(MIXED), **({"reasoner": own} if own else {})},
        }
        for place, (kinds, own, kv_type) in enumerate(machines)
    }
    together = fleet_of(MIXED, hosts)
    kept = Decisions(Lock())

    for spec in together.hosts:
        (alone,) = fleet_of(MIXED, {spec.name: hosts[spec.name]}).hosts
        assert _said(spec, kept) == _said(alone, Decisions(Lock()))


def _said(spec: HostSpec, kept: Decisions) -> object:
    try:
        found = host_decisions(spec, declared_devices(spec) or (), kept.lock, kept)
    except PlanError as error:
        return str(error)
    return [item.decision for item in found]
