"""What is left open in a model's settings, decided for the devices of a host.

Live and offline plans must agree, and a second apply must decide as the first did: so devices count with the
memory that their kind has, not with what happens to be free while models are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ollama_fleet.artifacts.facts_json import FactsError
from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import Correction
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner import choice
from ollama_fleet.planner.choice import USUAL, Choice, Preferences, choose
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.memory import Estimate, FitOptions, GpuBudget, KvType, budgets_of, fit
from ollama_fleet.planner.memory.options import KV_BLOCKS, NumGpu
from ollama_fleet.planner.recommendation import choose_size
from ollama_fleet.spec.forms import Candidate
from ollama_fleet.spec.model_request import ResolvedModel

USUAL_BATCH = 512
"""Tokens worked off at once; written into a placement, for the engine would raise it and need up to four times
the memory for it."""
SUSPICIOUS_LAYERS = (1, 2)
"""Numbers that people write who take `num_gpu` for a number of GPUs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A model with nothing left open.

    `num_gpu` is what is written into the model, None where that is left to the engine. `estimate` is None where
    nothing is known of the model; `choice` where nothing was to be chosen.
    """

    candidate: Candidate
    num_ctx: int
    num_gpu: int | None
    num_batch: int | None
    estimate: Estimate | None = None
    choice: Choice | None = None
    remarks: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """False only where it is known not to."""
        return self.estimate is None or self.estimate.fits


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the instance brings: its devices, its environment and its release."""

    gpus: tuple[GpuBudget, ...]
    kv_type: KvType
    flash_attention: bool | None
    num_parallel: int
    spread: bool
    release: str
    kinds: str = ""
    """The GPUs as measurements name them."""

    @classmethod
    def of(cls, devices: Sequence[Device], environment: Mapping[str, str], release: str) -> Surroundings:
        """Take devices as their kind is, and the variables that change how much memory a model needs."""
        kinds = [
            Device.declared(device.kind, device.index) if device.kind else replace(device, memory_free=None)
            for device in devices
        ]
        kv_type = environment.get("OLLAMA_KV_CACHE_TYPE", "f16")
        flash = environment.get("OLLAMA_FLASH_ATTENTION")
        return cls(
            gpus=budgets_of(kinds),
            kv_type=next((known for known in KV_BLOCKS if known == kv_type), "f16"),
            flash_attention=None if flash is None else flash == "1",
            num_parallel=int(environment.get("OLLAMA_NUM_PARALLEL") or 1) or 1,
            spread=environment.get("OLLAMA_SCHED_SPREAD") == "1",
            release=release,
            kinds=kinds_of(devices),
        )

    def correction(self, base: str, lock: Lock) -> Correction | None:
        """What was measured of a base with this release on these GPUs."""
        found = lock.measured.find(lock.digest_of(base), self.release, self.kinds)
        return None if found is None else found.correction

    def options(self, num_ctx: int, num_gpu: NumGpu, num_batch: int | None) -> FitOptions:
        """One placement in these surroundings; contexts and batches in tokens."""
        return FitOptions(
            num_ctx=num_ctx,
            num_gpu=num_gpu,
            num_batch=num_batch,
            num_parallel=self.num_parallel,
            kv_type_k=self.kv_type,
            kv_type_v=self.kv_type,
            flash_attention=self.flash_attention,
            release=self.release,
            spread=self.spread,
        )

    def without(self, estimate: Estimate | None) -> Surroundings:
        """What is left once a model is loaded for good."""
        if estimate is None:
            return self
        left = zip(self.gpus, estimate.devices, strict=True)
        gpus = tuple(replace(gpu, free=max(gpu.free - used.total + used.reserve, 0)) for gpu, used in left)
        return replace(self, gpus=gpus)


def kinds_of(devices: Sequence[Device]) -> str:
    """GPUs as measurements name them, in whatever order: `rtx-4090`, `rtx-3090+rtx-3090`; empty for none."""
    return "+".join(sorted(device.kind or device.name for device in devices))


def facts_of(candidate: Candidate, lock: Lock) -> ModelFacts | None:
    """What is known of a base: from the lock, else from the catalogue of families."""
    try:
        if candidate.is_file:
            file = lock.files.get(candidate.base)
            return None if file is None else file.model_facts
        name = _name_of(candidate.base)
        locked = lock.find_model(name)
        if locked is not None and locked.model_facts is not None:
            return locked.model_facts
    except FactsError as error:
        raise PlanError(f"fleet.lock: facts of {candidate.base}: {error}; run `ollama-fleet lock`") from None
    known = find_model(name)
    return None if known is None else known.facts


@lru_cache(maxsize=4096)
def _name_of(base: str) -> ModelName:
    # A fleet asks for few names, but once for each host.
    return ModelName.parse(base)


class Decisions:
    """Decides with one lock, and remembers: of a thousand hosts most ask the same of the same machine."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self._made: dict[tuple[int, Surroundings], tuple[ResolvedModel, Decision]] = {}

    def decide(self, resolved: ResolvedModel, around: Surroundings) -> Decision:
        """As the function `decide`, and raises as it does."""
        # By identity: hosts that say the same of a model share one ResolvedModel, which is kept with the decision.
        key = id(resolved), around
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = resolved, decide(resolved, around, self.lock)
        return made[1]


def decide(resolved: ResolvedModel, around: Surroundings, lock: Lock) -> Decision:
    """Decide what is left open, and reckon what it takes.

    Raises:
        PlanError: nothing that is allowed fits, or a choice is asked for and nothing is known of the model.
    """
    known = [(candidate, facts_of(candidate, lock)) for candidate in resolved.candidates]
    if not resolved.left_open:
        candidate, facts = known[0]
        return _given(resolved, candidate, facts, around, around.correction(candidate.base, lock))
    unknown = [candidate.base for candidate, facts in known if facts is None]
    if unknown:
        raise PlanError(f"{resolved.name}: nothing is known of {unknown[0]}; run `ollama-fleet lock`")
    open_ = [(candidate, facts) for candidate, facts in known if facts is not None]
    return _chosen(resolved, open_, around, lock)


def _given(
    resolved: ResolvedModel,
    candidate: Candidate,
    facts: ModelFacts | None,
    around: Surroundings,
    correction: Correction | None,
) -> Decision:
    num_gpu = resolved.num_gpu if isinstance(resolved.num_gpu, int) else None
    decision = Decision(candidate, resolved.num_ctx, num_gpu, None)
    if facts is None:
        return decision
    options = around.options(resolved.num_ctx, "engine" if num_gpu is None else num_gpu, _own_batch(resolved))
    try:
        estimate = fit(facts, around.gpus, options, correction=correction)
    except ValueError as error:
        raise PlanError(f"{resolved.name}: {error}") from None
    return replace(decision, estimate=estimate, remarks=tuple(_remarks(resolved, estimate, around)))


def _chosen(
    resolved: ResolvedModel, known: Sequence[tuple[Candidate, ModelFacts]], around: Surroundings, lock: Lock
) -> Decision:
    named = [(candidate, facts, candidate.quantization or facts.quantization) for candidate, facts in known]
    order = tuple(dict.fromkeys(word.upper() for _, _, word in named))
    if not resolved.ordered:
        order = _usual_of(order)
    preferences = Preferences(
        quantizations=order,
        num_ctx=resolved.num_ctx,
        num_ctx_floor=resolved.num_ctx_min,
        num_gpu="engine" if resolved.num_gpu is None else resolved.num_gpu,
        kv_types=(around.kv_type,),
        flash_attention=around.flash_attention,
        num_parallel=around.num_parallel,
        num_batch=_own_batch(resolved) or USUAL_BATCH,
        release=around.release,
        spread=around.spread,
    )
    candidates = [
        choice.Candidate(
            candidate.size or resolved.name,
            word,
            candidate.base,
            facts,
            around.correction(candidate.base, lock),
        )
        for candidate, facts, word in named
    ]
    try:
        if resolved.size_open:
            weighed = not resolved.ordered and len(order) > 1
            found = choose_size(around.gpus, candidates, preferences, weighed=weighed)
        else:
            found = choose(candidates, around.gpus, preferences)
    except ValueError as error:
        raise PlanError(f"{resolved.name}: {error}") from None
    if found is None:
        raise PlanError(
            f"{resolved.name}: nothing that is allowed fits: {_closest(candidates, around, preferences)}"
        )
    picked = next(candidate for candidate, _ in known if candidate.base == found.candidate.name)
    return Decision(
        candidate=picked,
        num_ctx=found.num_ctx,
        num_gpu=found.written_num_gpu,
        num_batch=found.num_batch,
        estimate=found.estimate,
        choice=found,
        remarks=tuple(_remarks(resolved, found.estimate, around)),
    )


def _usual_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """Of the quantisations that there are, those that are taken where nobody named any."""
    return tuple(word for word in USUAL if word in words) or words


def may_be_chosen(resolved: ResolvedModel) -> tuple[Candidate, ...]:
    """The candidates that one or another machine may get: of `quantization: auto` the usual ones only."""
    words = tuple(dict.fromkeys(one.quantization.upper() for one in resolved.candidates if one.quantization))
    if resolved.ordered or not words:
        return resolved.candidates
    usual = _usual_of(words)
    return tuple(
        one for one in resolved.candidates if one.quantization is None or one.quantization.upper() in usual
    )


def _closest(candidates: Sequence[choice.Candidate], around: Surroundings, preferences: Preferences) -> str:
    """Why the smallest form does not fit."""
    smallest = min(candidates, key=lambda candidate: candidate.facts.total_bytes)
    options = around.options(preferences.num_ctx_floor, preferences.num_gpu, preferences.num_batch)
    estimate = fit(smallest.facts, around.gpus, options, correction=smallest.correction)
    return "; ".join(estimate.reasons) or "not even on the host"


def _own_batch(resolved: ResolvedModel) -> int | None:
    batch = resolved.parameters.get("num_batch")
    return batch if isinstance(batch, int) else None


def _remarks(resolved: ResolvedModel, estimate: Estimate, around: Surroundings) -> list[str]:
    remarks = []
    number = resolved.num_gpu
    if isinstance(number, int):
        if number > estimate.layers_total:
            remarks.append(
                f"num_gpu {number} is more than the {estimate.layers_total} layers that the model has; "
                "the engine takes it for all"
            )
        elif number in SUSPICIOUS_LAYERS and around.gpus and estimate.layers_total > number:
            remarks.append(f"num_gpu {number} means layers, not GPUs: the other layers run on the CPU")
    if around.gpus and not estimate.fits:
        remarks.append("; ".join(estimate.reasons))
    return remarks
