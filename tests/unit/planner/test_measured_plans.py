"""Plans follow what was measured for the same weights, release and GPUs, and nothing else."""

from __future__ import annotations

import pytest

from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import Correction, Measurement, Measurements, Terms
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.memory import FitOptions, budget_of_size, fit
from tuning.simulated import GIB, MARGIN, Case, searched
from unit.planner.fleets import SINCE, decisions, lock_entry

MODEL = find_model(ModelName.parse("deepseek-r1:32b"))


@pytest.mark.parametrize("noise", [-0.15, -0.04, 0.07, 0.15])
@pytest.mark.parametrize("num_ctx", [2048, 16384])
def test_after_one_search_the_prediction_is_within_one_percent(noise: float, num_ctx: int) -> None:
    """The law is the stand-in's; the terms are those that its log would tell."""
    case = Case("deepseek-r1:32b", 16 * GIB, num_ctx, noise, growth=100 << 20)
    outcome = searched(case)
    best = outcome.found.rung
    gpus = [budget_of_size(case.size, desktop=False)]

    def estimate(correction: Correction | None, num_gpu: int) -> tuple[int, int, int, int]:
        options = FitOptions(num_ctx=num_ctx, num_gpu=num_gpu, num_batch=512, release="0.32.15")
        device = fit(case.facts, gpus, options, correction=correction).devices[0]
        return device.weights, device.kv, device.compute, device.reserve

    weights, kv, compute, _ = estimate(None, best)
    share = case.placed(best)
    left = case.free_at_peak(best)
    assert left is not None
    taken = case.gpu.free - left
    one = Measurement(
        model=case.model,
        num_gpu=best,
        num_ctx=num_ctx,
        kv_cache_type="f16",
        planned=Terms(weights=weights, kv=kv, compute=compute),
        observed=Terms(weights=share.weights, kv=share.kv, compute=share.graph),
        beside=taken - share.total,
    )
    again = estimate(one.correction, best)
    assert abs(sum(again) - MARGIN - taken) <= 0.01 * taken
    for predicted, observed in zip(again[:3], (share.weights, share.kv, share.graph), strict=True):
        assert abs(predicted - observed) <= 0.01 * observed + 1
    # What was learnt holds a few layers away as well.
    near = best - 3
    left = case.free_at_peak(near)
    assert left is not None
    assert abs(sum(estimate(one.correction, near)) - MARGIN - (case.gpu.free - left)) <= 0.03 * taken


def test_a_decision_uses_it_for_the_same_digest_release_and_gpu_only() -> None:
    assert MODEL is not None
    entry = lock_entry(MODEL.facts.to_dict())
    lock = Lock().with_model(ModelName.parse("deepseek-r1:32b"), entry)
    one = Measurement(
        model="deepseek-r1:32b",
        num_gpu=40,
        num_ctx=8192,
        kv_cache_type="f16",
        planned=Terms(weights=10, kv=10, compute=10),
        observed=Terms(weights=12, kv=11, compute=10),
        beside=500 << 20,
    )
    measured = lock.with_measured(Measurements().with_one(entry.digest, SINCE, "rtx-4060-ti-16gb", one))
    models = {"m": {"from": "deepseek-r1:32b", "num_ctx": 8192, "num_gpu": "auto"}}

    def layers(gpu: str, release: str, lock: Lock) -> int:
        estimate = decisions(models, [gpu], release=release, lock=lock)["m"].estimate
        assert estimate is not None
        return estimate.layers_offloaded

    assert layers("rtx-4060-ti-16gb", SINCE, measured) < layers("rtx-4060-ti-16gb", SINCE, lock)
    for gpu, release in (("rtx-4060-ti-16gb", "0.32.14"), ("rtx-4080", SINCE)):
        assert layers(gpu, release, measured) == layers(gpu, release, lock)
    fixed = {"m": {"from": "deepseek-r1:32b", "num_ctx": 8192, "num_gpu": 20}}
    plain, corrected = (
        decisions(fixed, ["rtx-4060-ti-16gb"], lock=which)["m"].estimate for which in (lock, measured)
    )
    assert plain is not None
    assert corrected is not None
    assert corrected.devices[0].weights == pytest.approx(plain.devices[0].weights * 1.2, abs=2)
