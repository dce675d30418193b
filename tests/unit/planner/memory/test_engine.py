"""What releases do that nobody asked for, and what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from ollama_fleet.artifacts.families import families
from ollama_fleet.planner.memory import Estimate, FitOptions, GpuBudget, fit
from ollama_fleet.planner.memory.engine import flash_attention, generation_of, own_engine, staged_in_pairs
from ollama_fleet.planner.memory.weights import most_staged

R1 = families()["deepseek-r1"].sizes
MIB = 2**20
GPU = (GpuBudget("gpu", 80 << 30, 80 << 30),)
OLD_CARD = (GpuBudget("old", 80 << 30, 80 << 30, fused_attention=False),)


def of(size: str, release: str | None, gpus: tuple[GpuBudget, ...] = GPU, **options: Any) -> Estimate:
    asked = FitOptions(release=release, num_batch=512, **options)
    return fit(R1[size].models["Q4_K_M"].facts, gpus, asked)


@pytest.mark.parametrize(
    ("size", "release", "flash"),
    [
        ("7b", "0.9.6", False),
        ("7b", "0.13.3", False),
        ("7b", "0.13.4", True),
        ("7b", "0.24.0", True),
        ("7b", "0.32.15", True),
        ("8b", "0.12.3", False),
        ("8b", "0.12.4", True),
        ("671b", "0.24.0", False),
        ("671b", "0.32.15", True),
        ("7b", None, False),
    ],
)
def test_flash_attention_where_nothing_is_asked(size: str, release: str | None, flash: bool) -> None:
    facts = R1[size].models["Q4_K_M"].facts
    assert flash_attention(facts, release, None, supported=True) is flash
    assert flash_attention(facts, release, None, supported=False) is False
    assert flash_attention(facts, release, True, supported=True) is True
    assert flash_attention(facts, release, False, supported=True) is False


@pytest.mark.parametrize(
    ("size", "release", "own"),
    [
        ("7b", "0.24.0", False),
        ("8b", "0.11.10", False),
        ("8b", "0.12.0", True),
        ("8b", "0.32.15", False),
        ("671b", "0.12.6", False),
        ("671b", "0.24.0", True),
        ("8b", None, False),
    ],
)
def test_which_engine_runs_a_model(size: str, release: str | None, own: bool) -> None:
    assert own_engine(R1[size].models["Q4_K_M"].facts, release) is own


def test_no_version_is_told_as_such() -> None:
    assert generation_of("v0.24.0-rc1") == "to-0.24"
    with pytest.raises(ValueError, match=r"latest.* is no version"):
        generation_of("latest")


def test_sequences_that_share_a_cache_are_all_looked_at() -> None:
    """R1's 8B in 2025: 4 sequences of 2048 took the 560 MiB of one sequence of 8192 (published log, GTX 1080)."""
    together = of("8b-llama-distill", "0.9.6", OLD_CARD, num_ctx=2048, num_parallel=4).devices[0].compute
    alone = of("8b-llama-distill", "0.9.6", OLD_CARD, num_ctx=8192).devices[0].compute
    apart = of("8b-llama-distill", "0.11.10", OLD_CARD, num_ctx=2048, num_parallel=4).devices[0].compute

    assert together == alone
    assert together / MIB == pytest.approx(560, rel=0.02)
    assert apart < together


def test_scores_of_a_whole_batch_are_llama_cpps_of_before() -> None:
    before = of("7b", "0.24.0").devices[0].compute
    since = of("7b", "0.32.15").devices[0].compute
    scores = 4 * 512 * R1["7b"].models["Q4_K_M"].facts.vocabulary

    assert before >= scores > since
    assert of("8b", "0.24.0").devices[0].compute < scores


@pytest.mark.parametrize("size", ["7b", "8b", "14b", "70b", "671b"])
@pytest.mark.parametrize("num_parallel", [1, 4])
def test_an_unknown_release_is_charged_as_much_as_any(size: str, num_parallel: int) -> None:
    # Of the 8B's architecture flash attention is taken for granted, which releases before 0.12.4 did not have on.
    releases = ("0.12.6", "0.24.0", "0.32.15") if size == "8b" else ("0.9.6", "0.11.10", "0.24.0", "0.32.15")
    unknown = of(size, None, num_ctx=8192, num_parallel=num_parallel, num_gpu="all")
    for release in releases:
        known = of(size, release, num_ctx=8192, num_parallel=num_parallel, num_gpu="all")
        assert known.devices[0].total <= unknown.devices[0].total, release


@pytest.mark.parametrize(
    ("size", "release", "asked", "quantised"),
    [
        ("7b", "0.24.0", None, False),
        ("7b", "0.24.0", True, True),
        ("8b", "0.24.0", None, True),
        ("7b", "0.32.15", None, True),
    ],
)
def test_what_older_releases_make_of_a_quantised_cache(
    size: str, release: str, asked: bool | None, quantised: bool
) -> None:
    found = of(size, release, kv_type_k="q8_0", kv_type_v="q8_0", flash_attention=asked)
    plain = of(size, release, flash_attention=asked)

    assert (found.devices[0].kv < plain.devices[0].kv) is quantised
    assert any("keeps the cache in f16" in reason for reason in found.reasons) is not quantised


def test_gate_and_up_of_the_experts_are_copied_over_together() -> None:
    facts = R1["671b"].models["Q4_K_M"].facts
    gate = 256 * 7168 * 2048 * 9 // 16  # Q4_K has 4.5 bits a weight
    down = 256 * 7168 * 2048 * 210 // 256  # of some layers in Q6_K

    assert most_staged(facts, 0, facts.block_count, pairs=True) == 2 * gate
    assert most_staged(facts, 0, facts.block_count, pairs=False) == down
    assert [staged_in_pairs(release) for release in ("0.11.10", "0.24.0", "0.32.15", None)] == [
        False,
        True,
        True,
        True,
    ]


def test_layers_of_a_dense_model_are_copied_over_one_tensor_at_a_time() -> None:
    facts = R1["7b"].models["Q8_0"].facts
    assert most_staged(facts, 0, 1, pairs=True) == 3584 * 18944 * 34 // 32
    assert most_staged(facts, 0, 0, pairs=True) == 0
