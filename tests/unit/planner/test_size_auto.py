"""`size: auto` and a fixed size, from fleet.yaml to what is decided and locked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.locking import needs_of
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.choice import Preferences
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.memory import budgets_of
from ollama_fleet.planner.recommendation import recommend
from unit.deploys.test_locking import fleet_of
from unit.planner.fleets import SINCE, decision, decisions, lock_entry

R1 = families()["deepseek-r1"]
CARDS = [
    "gtx-1050-ti",
    "rtx-4060",
    "rtx-3080-10gb",
    "rtx-4060-ti-16gb",
    "rtx-4090",
    "l20",
    "a100-80gb",
    "h200",
]


def auto(gpus: list[str], **model: Any) -> Decision:
    return decision(gpus, base="deepseek-r1", size="auto", num_gpu="auto", **model)


@pytest.mark.parametrize(
    ("gpus", "size", "base"),
    [
        (["rtx-4060"], "8b", "deepseek-r1:8b"),
        (["rtx-4060-ti-16gb"], "14b", "deepseek-r1:14b"),
        (["rtx-4090"], "32b", "deepseek-r1:32b"),
        (["rtx-3090", "rtx-3090"], "70b", "deepseek-r1:70b"),
        (["h200"] * 4, "671b", "deepseek-r1:671b"),
    ],
)
def test_the_largest_size_that_fits(gpus: list[str], size: str, base: str) -> None:
    found = auto(gpus, num_ctx_min=4096)

    assert (found.candidate.size, found.candidate.base) == (size, base)
    assert found.estimate is not None
    assert found.estimate.full
    assert found.fits


def test_the_next_larger_size_is_named_with_what_it_lacks() -> None:
    found = auto(["rtx-4090"])

    assert found.choice is not None
    assert found.choice.rejected is not None
    assert found.choice.rejected.candidate.size == "70b"
    assert found.choice.rejected.lacks > 0


def test_of_a_list_the_largest_size_is_taken_then_the_best_quantization() -> None:
    small = {"num_ctx": 4096, "num_gpu": "auto"}
    kinds = ["rtx-3090"]
    strict = auto(kinds, quantization="Q8_0", num_ctx_min=4096)
    listed = auto(kinds, quantization=["Q8_0", "Q4_K_M"], num_ctx_min=4096)

    assert (strict.candidate.size, strict.candidate.quantization) == ("14b", "Q8_0")
    assert (listed.candidate.size, listed.candidate.quantization) == ("32b", "Q4_K_M")
    assert decision(kinds, base="deepseek-r1:32b", quantization="Q4_K_M", **small).fits


@pytest.mark.parametrize("kind", CARDS)
def test_with_quantization_auto_it_is_what_recommend_says(kind: str) -> None:
    wanted = Preferences(num_ctx=8192, num_ctx_floor=4096, kv_types=("f16",), release=SINCE)
    first = recommend(budgets_of([Device.declared(kind, 0)]), R1, wanted)[0]
    found = auto([kind], quantization="auto", num_ctx_min=4096)

    assert found.candidate.base == first.candidate.name
    assert (found.num_ctx, found.estimate) == (first.num_ctx, first.estimate)


def test_what_fits_nowhere_wholly_is_the_smallest_size() -> None:
    on_cpu = auto([])
    forced = decision(["rtx-4090"], base="deepseek-r1", size="auto", num_gpu=0)

    assert (on_cpu.candidate.size, forced.candidate.size) == ("1.5b", "1.5b")
    assert forced.num_gpu == 0


def test_a_size_of_its_own_for_a_host_and_for_a_kind_of_gpu() -> None:
    fixed = decision(["rtx-4090"], base="deepseek-r1", size="14b")
    by_kind = {"per_gpu": {"rtx-4090": {"size": "7b", "quantization": "Q8_0"}}}
    kind = decision(["rtx-4090"], base="deepseek-r1", size="auto", quantization="auto", **by_kind)

    assert (fixed.candidate.base, fixed.choice) == ("deepseek-r1:14b", None)
    assert kind.candidate.base == "deepseek-r1:7b-qwen-distill-q8_0"


def test_what_it_leaves_beside_a_preloaded_model_counts() -> None:
    reasoner = {"from": "deepseek-r1", "size": "auto", "num_ctx": 4096, "num_gpu": "auto", "preload": True}
    first = {"from": "deepseek-r1:14b", "num_ctx": 4096, "num_gpu": "auto", "preload": True}
    alone = decisions({"b": reasoner}, ["rtx-4090"])["b"]
    beside = decisions({"a": first, "b": reasoner}, ["rtx-4090"])["b"]

    assert alone.candidate.size == "32b"
    assert beside.candidate.size in ("7b", "8b", "14b")
    assert beside.fits


@settings(max_examples=40, deadline=None)
@given(
    place=st.integers(0, len(CARDS) - 2),
    count=st.integers(1, 2),
    quantization=st.sampled_from([None, "auto", "Q8_0", ["Q4_K_M", "Q8_0"], ["Q4_K_M", "Q3_K_M"]]),
)
def test_more_memory_is_never_a_smaller_size(place: int, count: int, quantization: Any) -> None:
    order = list(R1.sizes)
    said = {} if quantization is None else {"quantization": quantization}
    small, large = (
        auto([kind] * count, num_ctx_min=4096, **said).candidate.size for kind in CARDS[place : place + 2]
    )
    # The two of 8b are alike in parameters, so either may follow the other.
    rank = {size: min(order.index(size), 2) if size.startswith("8b") else order.index(size) for size in order}
    assert small is not None
    assert large is not None
    assert rank[large] >= rank[small]


AUTO = {"m": {"from": "deepseek-r1", "size": "auto", "num_ctx": 8192, "num_gpu": "auto"}}


def test_declared_gpus_need_what_is_decided_and_others_all_that_may_be() -> None:
    declared = needs_of(fleet_of(AUTO, {"pc": {"gpus": ["rtx-4090"], "models": ["m"]}}), Lock())
    open_host = needs_of(fleet_of(AUTO, {"who-knows": {"models": ["m"]}}), Lock())

    assert list(declared.bases) == ["deepseek-r1:32b"]
    assert set(open_host.bases) == {size.models["Q4_K_M"].names[0] for size in R1.sizes.values()}


def test_facts_in_the_lock_win_over_the_catalogue() -> None:
    large = R1.sizes["70b"].models["Q4_K_M"].facts
    lock = Lock(models={"deepseek-r1:32b": lock_entry(large.to_dict())})
    models = {"m": {**AUTO["m"]}}

    assert decisions(models, ["rtx-4090"], lock=lock)["m"].candidate.size == "14b"
