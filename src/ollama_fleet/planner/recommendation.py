"""What of a family a machine should run, and which size `size: auto` means.

Sizes, quantisations, contexts and caches are weighed against each other in one unit, the halving of a model's
parameters, and the best that fits wholly on the GPUs is taken. The weights are a judgement, not a measurement:
they say what people who run these models say (a four-bit 14B rather than a three-bit 32B with a short context, a
three-bit 14B rather than a four-bit 7B). More memory never gives a worse answer: all that fitted before still fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
    candidates = ordered_by(candidates_of(family), wanted)
    found = _weighed(gpus, candidates, wanted, host_free)
    if not found:
        return _left_over(gpus, candidates, wanted, host_free, host_bandwidth)
    return [_with_speed(choice, gpus, host_bandwidth) for choice in found]


def choose_size(
    gpus: Sequence[GpuBudget],
    candidates: Sequence[Candidate],
    preferences: Preferences,
    *,
    weighed: bool,
    host_free: int | None = None,
    host_bandwidth: int = 0,
) -> Choice | None:
    """Choose among sizes of a family: what `size: auto` means.

    Args:
        gpus: the machine's GPUs.
        candidates: sizes in their quantisations, in any order.
        preferences: see there.
        weighed: size, quantisation and context are weighed against each other, as `recommend` does; else the
            largest size is taken that runs wholly on the GPUs within the preferences.
        host_free: free bytes of host memory, None where nobody knows.
        host_bandwidth: of the host's memory in bytes per second, for the speed; 0 where unknown.

    Returns:
        Where no size runs wholly on the GPUs, the smallest, partly or wholly on the CPU; None where nothing fits.
    """
    ordered = ordered_by(candidates, preferences)
    found: Sequence[Choice] = ()
    if gpus and preferences.num_gpu != 0:
        found = (_weighed if weighed else _largest)(gpus, ordered, preferences, host_free)
    if not found:
        found = _left_over(gpus, ordered, preferences, host_free, host_bandwidth)
    return _with_speed(found[0], gpus, host_bandwidth) if found else None


def _weighed(
    gpus: Sequence[GpuBudget], ordered: Sequence[Candidate], wanted: Preferences, host_free: int | None
) -> list[Choice]:
    """The best of each size that runs wholly on the GPUs, best first, by what each is worth."""
    whole = replace(wanted, partial=False, cpu=False)
    best: dict[str, _Scored] = {}
    failed: list[tuple[float, Rejected]] = []
    for candidate in ordered if gpus else ():
        search = Search(tuple(gpus), whole, host_free)
        for choice in on_gpus(search, candidate):
            scored = _Scored(worth(candidate, wanted, choice.num_ctx, choice.kv_type), choice)
            held = best.get(candidate.size)
            if held is None or scored.key > held.key:
                best[candidate.size] = scored
        if search.rejected is not None:
            failed.append((worth(candidate, wanted, wanted.num_ctx, wanted.kv_types[0]), search.rejected))
    found = sorted(best.values(), key=lambda scored: scored.key, reverse=True)
    return [
        replace(
            scored.choice, rejected=_nearest(rejected for value, rejected in failed if value > scored.worth)
        )
        for scored in found
    ]


def _largest(
    gpus: Sequence[GpuBudget], ordered: Sequence[Candidate], wanted: Preferences, host_free: int | None
) -> list[Choice]:
    """The largest size that runs wholly on the GPUs, in the best quantisation that does."""
    failed: list[Rejected] = []
    for group in reversed(_by_size(ordered)):
        search = Search(tuple(gpus), replace(wanted, partial=False, cpu=False), host_free)
        for candidate in group:
            for choice in on_gpus(search, candidate):
                own = [search.rejected] if search.rejected else []
                return [replace(choice, rejected=_nearest([*own, *failed]))]
        if search.rejected is not None:
            failed.append(search.rejected)
    return []


def _nearest(rejected: Iterable[Rejected]) -> Rejected | None:
    """What lacks least."""
    return min(rejected, key=lambda one: one.lacks, default=None)


def _with_speed(choice: Choice, gpus: Sequence[GpuBudget], host_bandwidth: int) -> Choice:
    speed = token_rate(choice.candidate.facts, choice.estimate, gpus, host_bandwidth)
    return replace(choice, speed=speed)


def _by_size(ordered: Sequence[Candidate]) -> list[list[Candidate]]:
    """The candidates of each size, the smallest size first."""
    sizes: dict[str, list[Candidate]] = {}
    for candidate in ordered:
        sizes.setdefault(candidate.size, []).append(candidate)
    return sorted(sizes.values(), key=lambda group: group[0].facts.parameters)


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
    for group in _by_size(candidates):
        choice = choose(group, gpus, wanted, host_free=host_free, host_bandwidth=host_bandwidth)
        if choice is not None:
            return [choice]
    return []
