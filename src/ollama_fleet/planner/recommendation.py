"""What of a family a machine should run, and which size `size: auto` means.

Sizes, quantisations, contexts and caches are weighed against each other in one unit, the halving of a model's
parameters, and the best that fits wholly on the GPUs is taken. The weights are a judgement, not a measurement:
they say what people who run these models say (a four-bit 14B rather than a three-bit 32B with a short context, a
three-bit 14B rather than a four-bit 7B). More memory never gives a worse answer: all that fitted before still fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ollama_fleet.artifacts.families import Family
from ollama_fleet.planner.choice import (
    Candidate,
    Choice,
    Preferences,
    Rejected,
    Search,
    choose,
    on_gpus,
    ordered_by,
)
from ollama_fleet.planner.memory.budget import GpuBudget
from ollama_fleet.planner.memory.options import KV_BLOCKS, KvType
from ollama_fleet.planner.speed import token_rate

# What a quantisation costs against 16 bits, in halvings of the parameters.
_QUANTIZATION_COST = {
    "F16": -0.1,
    "BF16": -0.1,
    "Q8_0": -0.1,
    "Q6_K": -0.08,
    "Q5_K_M": -0.05,
    "Q5_K_S": -0.04,
    "Q4_K_M": 0.0,
    "Q4_K_S": 0.05,
    "IQ4_XS": 0.1,
    "Q3_K_L": 0.5,
    "Q3_K_M": 0.6,
    "IQ3_M": 0.9,
    "Q3_K_S": 1.3,
    "IQ3_XS": 1.5,
    "Q2_K": 2.5,
    "IQ2_M": 2.5,
}
_LEAST_USEFUL = 3.0
"""Of a quantisation that is not in the list."""
_QUANTIZED_CACHE_COST = 0.15
_HALVED_CONTEXT_COST = 0.3
_STEPS = 2
"""Parameters count in steps of half a doubling: 7.6 and 8.2 billion are alike."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A choice and what it is worth; of two alike the one that takes less memory is better."""

    worth: float
    choice: Choice

    @property
    def key(self) -> tuple[float, int]:
        return self.worth, -self.choice.estimate.vram


def recommend(
    gpus: Sequence[GpuBudget],
    family: Family,
    preferences: Preferences | None = None,
    *,
    host_free: int | None = None,
    host_bandwidth: int = 0,
) -> list[Choice]:
    """What of a family a machine should run: the best of each size that runs wholly on its GPUs, best first.

    Where no size does, the one choice that is left: the smallest size, partly or wholly on the CPU. Each names
    the better option that lacks least. Empty where nothing fits at all.
    """
    wanted = preferences or Preferences()
    whole = replace(wanted, partial=False, cpu=False)
    best: dict[str, _Scored] = {}
    failed: list[tuple[float, Rejected]] = []
    candidates = ordered_by(candidates_of(family), wanted)
    for candidate in candidates if gpus else ():
        search = Search(tuple(gpus), whole, host_free)
        for choice in on_gpus(search, candidate):
            scored = _Scored(worth(candidate, wanted, choice.num_ctx, choice.kv_type), choice)
            held = best.get(candidate.size)
            if held is None or scored.key > held.key:
                best[candidate.size] = scored
        if search.rejected is not None:
            failed.append((worth(candidate, wanted, wanted.num_ctx, wanted.kv_types[0]), search.rejected))
    found = sorted(best.values(), key=lambda scored: scored.key, reverse=True)
    if not found:
        return _left_over(gpus, candidates, wanted, host_free, host_bandwidth)
    choices = []
    for scored in found:
        better = [rejected for value, rejected in failed if value > scored.worth]
        nearest = min(better, key=lambda rejected: rejected.lacks, default=None)
        speed = token_rate(scored.choice.candidate.facts, scored.choice.estimate, gpus, host_bandwidth)
        choices.append(replace(scored.choice, rejected=nearest, speed=speed))
    return choices


def choose_size(
    gpus: Sequence[GpuBudget],
    family: Family,
    preferences: Preferences | None = None,
    *,
    host_free: int | None = None,
    host_bandwidth: int = 0,
) -> Choice | None:
    """The size of a family that `size: auto` means; None where nothing fits."""
    found = recommend(gpus, family, preferences, host_free=host_free, host_bandwidth=host_bandwidth)
    return found[0] if found else None


def candidates_of(family: Family) -> list[Candidate]:
    """Every size and quantisation of a family that has a name to be pulled by."""
    return [
        Candidate(size.size, quantization, model.names[0], model.facts)
        for size in family.sizes.values()
        for quantization, model in size.models.items()
        if model.names
    ]


def worth(candidate: Candidate, wanted: Preferences, num_ctx: int, kv_type: KvType) -> float:
    """What a possibility is worth: doublings of the parameters, less what quantising and a short context cost."""
    size = round(_STEPS * math.log2(max(candidate.facts.parameters, 1))) / _STEPS
    cost = _QUANTIZATION_COST.get(candidate.quantization.upper(), _LEAST_USEFUL)
    cost += _QUANTIZED_CACHE_COST if KV_BLOCKS[kv_type][0] > 1 else 0.0
    target = min(wanted.num_ctx, candidate.facts.context_length or wanted.num_ctx)
    cost += _HALVED_CONTEXT_COST * math.log2(target / num_ctx) if num_ctx < target else 0.0
    return size - cost


def _left_over(
    gpus: Sequence[GpuBudget],
    candidates: Sequence[Candidate],
    wanted: Preferences,
    host_free: int | None,
    host_bandwidth: int,
) -> list[Choice]:
    sizes: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        sizes.setdefault(candidate.size, []).append(candidate)
    for group in sorted(sizes.values(), key=lambda group: group[0].facts.parameters):
        choice = choose(group, gpus, wanted, host_free=host_free, host_bandwidth=host_bandwidth)
        if choice is not None:
            return [choice]
    return []
