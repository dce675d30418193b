"""What is decided of that which a model leaves open."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.families import families, find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.choice import Candidate, Preferences, choose
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.memory import budgets_of
from unit.planner.fleets import BEFORE, GIB, MIB, SINCE, decision, decisions, lock_entry

NAMES = {
    quantization: model.names[0]
    for quantization, model in families()["deepseek-r1"].sizes["32b"].models.items()
    if model.names
}


@pytest.mark.parametrize("gpus", [["rtx-4090"], ["rtx-4060-ti-16gb"], [], ["rtx-3090", "rtx-3090"]])
@pytest.mark.parametrize("num_gpu", [0, 3, 40, 65, "engine"])
def test_what_is_said_is_not_changed(gpus: list[str], num_gpu: int | str) -> None:
    found = decision(gpus, quantization="Q8_0", num_ctx=12_345, num_gpu=num_gpu)

    assert found.candidate.base == NAMES["Q8_0"]
    assert found.num_ctx == 12_345
    assert found.num_gpu == (None if num_gpu == "engine" else num_gpu)
    assert found.num_batch is None
    assert found.choice is None


def test_layers_that_are_given_are_reckoned_with() -> None:
    forty, sixty = (decision(["rtx-4060-ti-16gb"], num_gpu=layers).estimate for layers in (40, 60))
    assert forty is not None
    assert sixty is not None

    assert (forty.layers_offloaded, sixty.layers_offloaded) == (40, 60)
    assert forty.devices[0].weights < sixty.devices[0].weights
    assert forty.host.weights > sixty.host.weights


@pytest.mark.parametrize("gpu", ["rtx-4090", "rtx-2080-ti-22gb", "rtx-4060-ti-16gb", "rtx-3060-12gb", "l20"])
@pytest.mark.parametrize("release", [BEFORE, SINCE])
def test_auto_picks_as_the_choice_does(gpu: str, release: str) -> None:
    found = decision([gpu], release=release, quantization="auto", num_gpu="auto", num_ctx_min=4096)

    candidates = [
        Candidate(
            "32b", quantization, name, families()["deepseek-r1"].sizes["32b"].models[quantization].facts
        )
        for quantization, name in NAMES.items()
    ]
    wanted = Preferences(num_ctx=8192, num_ctx_floor=4096, kv_types=("f16",), release=release)
    chosen = choose(candidates, budgets_of([Device.declared(gpu, 0)]), wanted)
    assert chosen is not None
    assert (found.candidate.base, found.num_ctx) == (chosen.candidate.name, chosen.num_ctx)
    assert (found.num_gpu, found.estimate) == (chosen.written_num_gpu, chosen.estimate)
    assert found.fits


def test_a_list_keeps_its_order() -> None:
    large_first = decision(["a100-80gb"], quantization=["Q8_0", "Q4_K_M"])
    small_first = decision(["a100-80gb"], quantization=["Q4_K_M", "Q8_0"])
    no_room = decision(["rtx-4090"], quantization=["Q8_0", "Q4_K_M"])

    assert large_first.candidate.base == NAMES["Q8_0"]
    assert small_first.candidate.base == NAMES["Q4_K_M"]
    assert no_room.candidate.base == NAMES["Q4_K_M"]
    assert no_room.choice is not None
    assert no_room.choice.rejected is not None
    assert "Q8_0" in no_room.choice.rejected.reason


def test_auto_takes_the_usual_not_the_largest() -> None:
    assert decision(["a100-80gb"], quantization="auto").candidate.quantization == "Q4_K_M"


def test_the_context_is_cut_only_where_a_least_is_named() -> None:
    gpu = ["rtx-4090"]
    kv: dict[str, Any] = {"quantization": "Q4_K_M", "num_gpu": 65, "num_ctx": 32_768}
    fixed = decision(gpu, **kv)
    open_ = decision(gpu, num_ctx_min=4096, **kv)

    assert (fixed.num_ctx, fixed.fits) == (32_768, False)
    assert 4096 <= open_.num_ctx < 32_768
    assert open_.fits


@pytest.mark.parametrize("num_gpu", [1, 2])
def test_one_or_two_layers_are_told_to_be_no_gpus(num_gpu: int) -> None:
    (remark,) = decision(["rtx-4090", "rtx-4090"], num_gpu=num_gpu).remarks

    assert remark == f"num_gpu {num_gpu} means layers, not GPUs: the other layers run on the CPU"


@pytest.mark.parametrize(("gpus", "num_gpu"), [([], 1), (["rtx-4090"], 3), (["rtx-4090"], 0)])
def test_other_small_numbers_are_not_suspicious(gpus: list[str], num_gpu: int) -> None:
    assert decision(gpus, num_gpu=num_gpu).remarks == ()


def test_more_layers_than_there_are_is_told() -> None:
    (remark,) = decision(["rtx-4090"], num_gpu=66).remarks

    assert remark.startswith("num_gpu 66 is more than the 65 layers that the model has")
    assert decision(["rtx-4090"], num_gpu=65).remarks == ()
    assert decision(["rtx-4090"], num_gpu=66).num_gpu == 66


def test_what_does_not_fit_as_said_is_told_with_what_is_missing() -> None:
    found = decision(["rtx-3060-12gb"], num_gpu=65)

    assert not found.fits
    assert re.search(r"\d+ MiB", found.remarks[0])
    assert "rtx-3060-12gb" in found.remarks[0]


def test_a_choice_of_what_nobody_knows_is_an_error_with_the_way_out() -> None:
    with pytest.raises(PlanError) as caught:
        decision(["rtx-4090"], base="somebody/else:7b", num_gpu="auto")

    assert str(caught.value) == "m: nothing is known of somebody/else:7b; run `ollama-fleet lock`"


def test_what_nobody_knows_is_no_matter_where_nothing_is_left_open() -> None:
    found = decision(["rtx-4090"], base="somebody/else:7b", num_gpu=7)

    assert (found.num_gpu, found.estimate, found.fits) == (7, None, True)


def test_nothing_that_is_allowed_fits() -> None:
    with pytest.raises(PlanError) as caught:
        decision(["rtx-3060-12gb"], quantization=["Q8_0", "Q4_K_M"], num_gpu=65)

    message = str(caught.value)
    assert message.startswith("m: nothing that is allowed fits: ")
    assert re.search(r"rtx-3060-12gb .*MiB", message)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("more", "takes"),
    [
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": True}, "less"),
        ({"OLLAMA_FLASH_ATTENTION": False}, "more"),
        ({"OLLAMA_NUM_PARALLEL": 2}, "more"),
        ({"OLLAMA_NUM_PARALLEL": 0}, "same"),
        ({"OLLAMA_DEBUG": True}, "same"),
    ],
)
@pytest.mark.parametrize("open_", [{}, {"quantization": "auto", "num_gpu": "auto"}])
def test_the_environment_is_reckoned_with(more: dict[str, Any], takes: str, open_: dict[str, Any]) -> None:
    plain = decision(["a100-80gb"], **open_).estimate
    changed = decision(["a100-80gb"], more, **open_).estimate
    assert plain is not None
    assert changed is not None

    difference = changed.vram - plain.vram
    assert {"less": difference < -100 * MIB, "more": difference > 100 * MIB, "same": difference == 0}[takes]


def test_the_environment_decides_what_fits() -> None:
    wanted: dict[str, Any] = {"quantization": "auto", "num_ctx": 16_384, "num_gpu": "auto"}
    plain = decision(["rtx-4090"], **wanted)
    halved = decision(
        ["rtx-4090"], {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": True}, **wanted
    )

    assert plain.candidate.quantization != "Q4_K_M"
    assert halved.candidate.quantization == "Q4_K_M"


@pytest.mark.parametrize("num_gpu", ["auto", "engine"])
def test_a_model_that_would_do_with_one_gpu_is_spread_where_that_is_said(num_gpu: str) -> None:
    two = ["rtx-3090", "rtx-3090"]
    auto: dict[str, Any] = {"base": "deepseek-r1:7b", "num_gpu": num_gpu}
    alone = decision(two, **auto).estimate
    spread = decision(two, {"OLLAMA_SCHED_SPREAD": True}, **auto).estimate
    assert alone is not None
    assert spread is not None

    assert sum(device.weights > 0 for device in alone.devices) == 1
    assert sum(device.weights > 0 for device in spread.devices) == 2


def test_layers_that_fit_are_written_for_the_older_engine_and_left_to_the_newer() -> None:
    older = decision(["rtx-4090"], release=BEFORE, num_gpu="auto")
    newer = decision(["rtx-4090"], release=SINCE, num_gpu="auto")

    assert older.estimate is not None
    assert older.num_gpu == older.estimate.layers_offloaded == 65
    assert newer.num_gpu is None


def test_the_cpu_alone_is_written_for_either() -> None:
    for release in (BEFORE, SINCE):
        assert decision([], release=release, base="deepseek-r1:7b", num_gpu="auto").num_gpu == 0


def test_a_batch_is_written_only_with_what_was_decided() -> None:
    assert decision(["rtx-4090"], num_gpu="auto").num_batch == 512
    assert decision(["rtx-4090"], num_gpu="auto", parameters={"num_batch": 256}).num_batch == 256
    assert decision(["rtx-4090"], num_gpu=65).num_batch is None
    assert decision(["rtx-4090"], quantization="Q4_K_M").num_batch is None


@pytest.mark.parametrize("num_gpu", ["auto", "engine"])
@pytest.mark.parametrize("release", [BEFORE, SINCE])
def test_what_was_decided_is_written_with_the_batch_that_it_was_reckoned_with(
    num_gpu: str, release: str
) -> None:
    # With a larger batch, which the engine would take by itself, the choice might not fit.
    found = decision(["rtx-4090"], release=release, quantization="auto", num_gpu=num_gpu)

    assert found.estimate is not None
    assert found.num_batch == found.estimate.num_batch == 512


def test_the_lock_knows_better_than_the_catalogue_and_case_does_not_matter() -> None:
    catalogued = find_model(ModelName.parse("deepseek-r1:7b"))
    assert catalogued is not None
    half = replace(catalogued.facts, layers=(replace(catalogued.facts.layers[0], count=28),))
    half = replace(half, layers=(replace(half.layers[0], dense_bytes=10 * MIB),))
    lock = Lock().with_model(ModelName.parse("DeepSeek-R1:7B"), lock_entry(half.to_dict()))
    model = {"m": {"from": "deepseek-r1:7b", "num_ctx": 4096, "num_gpu": "auto"}}

    known = decisions(model, ["rtx-4090"])["m"].estimate
    locked = decisions(model, ["rtx-4090"], lock=lock)["m"].estimate
    assert known is not None
    assert locked is not None
    assert locked.devices[0].weights == known.devices[0].weights - catalogued.facts.layer_bytes + 280 * MIB


def test_facts_that_somebody_spoilt_are_told() -> None:
    lock = Lock().with_model(ModelName.parse("deepseek-r1:7b"), lock_entry({"version": 1, "heads": "many"}))

    with pytest.raises(PlanError) as caught:
        decisions({"m": {"from": "deepseek-r1:7b", "num_ctx": 4096}}, ["rtx-4090"], lock=lock)

    assert str(caught.value).startswith("fleet.lock: facts of deepseek-r1:7b: ")
    assert str(caught.value).endswith("; run `ollama-fleet lock`")


SIZES = st.sampled_from(["1.5b", "7b", "8b", "14b", "32b", "70b"])
GPUS = st.lists(
    st.sampled_from(["rtx-4090", "rtx-3060-12gb", "rtx-4060-ti-16gb", "v100-16gb", "rx-7900-xtx"]),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    size=SIZES,
    gpus=GPUS,
    num_ctx=st.integers(512, 65_536),
    least=st.integers(256, 65_536),
    quantization=st.sampled_from(["auto", ["Q8_0", "Q4_K_M"], ["Q4_K_M"], "Q8_0"]),
    num_gpu=st.sampled_from(["auto", "engine"]),
    release=st.sampled_from([BEFORE, SINCE]),
    kv_type=st.sampled_from(["f16", "q8_0", "q4_0"]),
)
def test_what_is_decided_is_allowed_and_fits(
    size: str,
    gpus: list[str],
    num_ctx: int,
    least: int,
    quantization: str | list[str],
    num_gpu: str,
    release: str,
    kv_type: str,
) -> None:
    env = {"OLLAMA_KV_CACHE_TYPE": kv_type, "OLLAMA_FLASH_ATTENTION": True}
    model = {"num_ctx": num_ctx, "num_ctx_min": least, "quantization": quantization, "num_gpu": num_gpu}
    found = decision(gpus, env, release, base=f"deepseek-r1:{size}", **model)

    assert found.fits or found.choice is None
    assert min(least, num_ctx) <= found.num_ctx <= num_ctx
    if quantization != "auto":
        allowed = [quantization] if isinstance(quantization, str) else quantization
        assert found.candidate.quantization in allowed
    assert found.estimate is not None
    assert found.num_gpu in (None, found.estimate.layers_offloaded)
    assert len(found.estimate.devices) == len(gpus)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, free=st.integers(4 * GIB, 90 * GIB), more=st.integers(0, 40 * GIB))
def test_more_memory_is_never_decided_worse(size: str, free: int, more: int) -> None:
    # A card that nobody catalogued counts with the memory that it says it has.
    card = Device(0, "GPU-1", "some card", None, free, None, None, "8.9", "nvidia")
    model = {
        "from": f"deepseek-r1:{size}",
        "num_ctx": 8192,
        "num_ctx_min": 2048,
        "quantization": ["Q8_0", "Q4_K_M", "IQ3_M"] if size == "32b" else ["Q8_0", "Q4_K_M"],
        "variants": {"IQ3_M": "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M"},
        "num_gpu": "auto",
    }
    less, better = (
        decisions({"m": model}, "auto", devices=[replace(card, memory_total=size)])["m"]
        for size in (free, free + more)
    )
    assert less.estimate is not None
    assert better.estimate is not None
    share = less.estimate.layers_offloaded / less.estimate.layers_total
    assert better.estimate.layers_offloaded / better.estimate.layers_total >= share
    if less.estimate.full:
        order = model["quantization"]
        assert isinstance(order, list)
        rank = order.index(less.candidate.quantization), -less.num_ctx
        assert (order.index(better.candidate.quantization), -better.num_ctx) <= rank
