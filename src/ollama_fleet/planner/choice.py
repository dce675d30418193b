"""Which quantisation, context, cache and number of layers a machine should run a model with.

The possibilities stand in one fixed order, best first; the first that fits is taken. So more memory never leads
to a worse choice, and the one before it that did not fit is the answer to "why not better".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ollama_fleet.artifacts.measured import Correction
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory.budget import GpuBudget
from ollama_fleet.planner.memory.engine import generation_of, quantized_cache
from ollama_fleet.planner.memory.estimate import Estimate
from ollama_fleet.planner.memory.fitting import fit
from ollama_fleet.planner.memory.options import KV_BLOCKS, FitOptions, KvType, NumGpu
from ollama_fleet.planner.memory.reserve import ReservePolicy
from ollama_fleet.planner.speed import SpeedRange, token_rate

MIB = 2**20
CONTEXT_STEP = 1024
"""Contexts are tried in steps of so many tokens below the one that is wanted."""

USUAL = ("Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_M", "Q3_K_S")
"""What `quantization: auto` tries, best first: four bits are the usual compromise, the largest of three bits the
last that is worth running. Larger ones are taken where the user names them."""

Way = Literal["gpu", "experts-on-host", "partial", "cpu"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to choose among: `size` and `quantization` as people know them, `name` as it is pulled.

    `correction` is what was measured of it on the GPUs that are chosen for.
    """

    size: str
    quantization: str
    name: str
    facts: ModelFacts
    correction: Correction | None = None


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the user wants, and what is the least to be taken.

    - `quantizations`: acceptable ones, best first; None is `USUAL`.
    - `num_ctx` is wanted, `num_ctx_floor` the least.
    - `num_gpu`: `auto`, `engine`, or a number of layers that is not to be changed.
    - `kv_types`: of the cache, best first.
    - `partial`: layers may stay on the host; `cpu`: all of them may.
    - `num_batch`: written into the placement, so that the engine does not raise it.
    """

    quantizations: tuple[str, ...] | None = None
    num_ctx: int = 8192
    num_ctx_floor: int = 4096
    num_gpu: NumGpu = "auto"
    kv_types: tuple[KvType, ...] = ("f16", "q8_0")
    flash_attention: bool | None = None
    partial: bool = True
    cpu: bool = True
    num_parallel: int = 1
    num_batch: int = 512
    release: str | None = None
    spread: bool = False
    reserve: ReservePolicy = field(default_factory=ReservePolicy)

    def __post_init__(self) -> None:
        """Raises ValueError where the floor is above what is wanted."""
        if self.num_ctx_floor > self.num_ctx:
            raise ValueError(f"the least num_ctx, {self.num_ctx_floor}, is above the wanted {self.num_ctx}")


@dataclass(frozen=True, slots=True)
class Rejected:
    """The first better option that does not fit: `lacks` bytes on `device`, most of it taken by `term`."""

    candidate: Candidate
    num_ctx: int
    kv_type: KvType
    device: str
    term: str
    lacks: int
    estimate: Estimate

    @property
    def reason(self) -> str:
        """One sentence."""
        where = f"{self.candidate.size} {self.candidate.quantization} with num_ctx {self.num_ctx}, {self.kv_type} cache"
        return f"{where} lacks {-(-self.lacks // MIB)} MiB on {self.device}, where {self.term} takes most"


@dataclass(frozen=True, slots=True)
class Choice:
    """A placement that fits.

    `num_gpu` are the layers on GPUs. `written_num_gpu` is what to write into the model: None leaves it to the
    engine, which from 0.30 on fits better than a fixed number can.
    """

    candidate: Candidate
    way: Way
    num_ctx: int
    kv_type: KvType
    num_gpu: int
    written_num_gpu: int | None
    num_batch: int
    estimate: Estimate
    rejected: Rejected | None
    speed: SpeedRange | None = None

    @property
    def full(self) -> bool:
        """All layers are on GPUs, experts included."""
        return self.way == "gpu"


def choose(
    candidates: Sequence[Candidate],
    gpus: Sequence[GpuBudget],
    preferences: Preferences | None = None,
    *,
    host_free: int | None = None,
    host_bandwidth: int = 0,
) -> Choice | None:
    """Choose among the quantisations of one model.

    For each quantisation in order: all layers on the GPUs at the wanted context with the first type of cache,
    then the others, then smaller contexts down to the floor. Then, for each quantisation, as many layers as fit
    (a mixture keeps experts on the host first); the CPU alone comes last.

    Args:
        candidates: quantisations of one model, in any order.
        gpus: the machine's GPUs; none leaves the CPU.
        preferences: see there.
        host_free: free bytes of host memory, None where nobody knows.
        host_bandwidth: of the host's memory in bytes per second, for the speed; 0 where unknown.

    Returns:
        None where nothing fits.
    """
    wanted = preferences or Preferences()
    ordered = ordered_by(candidates, wanted)
    search = Search(tuple(gpus), wanted, host_free)
    found = next(ways(search, ordered), None)
    if found is None:
        return None
    speed = token_rate(found.candidate.facts, found.estimate, gpus, host_bandwidth)
    return replace(found, rejected=search.rejected, speed=speed)


@dataclass
class Search:
    """One pass through the possibilities; keeps the first that did not fit."""

    gpus: tuple[GpuBudget, ...]
    wanted: Preferences
    host_free: int | None
    rejected: Rejected | None = None

    def kv_types(self, facts: ModelFacts) -> tuple[KvType, ...]:
        """The types that the cache can have here: quantised ones take flash attention."""
        wanted = self.wanted
        supported = all(gpu.fused_attention for gpu in self.gpus)
        blocks = quantized_cache(facts, wanted.release, wanted.flash_attention, supported)
        return tuple(kind for kind in wanted.kv_types if blocks or KV_BLOCKS[kind][0] == 1) or ("f16",)

    def contexts(self, facts: ModelFacts) -> tuple[int, int]:
        """The context that is wanted and the floor, within what the model can."""
        most = facts.context_length or self.wanted.num_ctx
        return min(self.wanted.num_ctx, most), min(self.wanted.num_ctx_floor, most)

    def estimate(
        self, candidate: Candidate, num_ctx: int, kind: KvType, num_gpu: NumGpu, cpu_experts: int = 0
    ) -> Estimate:
        """The estimate of one possibility."""
        wanted = self.wanted
        options = FitOptions(
            num_ctx=num_ctx,
            num_gpu=num_gpu,
            num_batch=wanted.num_batch,
            num_parallel=wanted.num_parallel,
            kv_type_k=kind,
            kv_type_v=kind,
            flash_attention=wanted.flash_attention,
            release=wanted.release,
            cpu_experts=cpu_experts,
            spread=wanted.spread,
        )
        return fit(
            candidate.facts,
            self.gpus,
            options,
            host_free=self.host_free,
            reserve=wanted.reserve,
            correction=candidate.correction,
        )

    def whole(
        self, candidate: Candidate, num_ctx: int, kind: KvType, cpu_experts: int = 0
    ) -> Estimate | None:
        """The estimate with every layer on the GPUs, None (and a rejection kept) where that does not fit."""
        found = self.estimate(candidate, num_ctx, kind, "all", cpu_experts)
        if found.fits:
            return found
        self.reject(candidate, num_ctx, kind, found)
        return None

    def reject(self, candidate: Candidate, num_ctx: int, kind: KvType, estimate: Estimate) -> None:
        """Keep what did not fit, if it is the first."""
        if self.rejected is not None:
            return
        short = max(estimate.devices, key=lambda device: device.lacks, default=None)
        if short is not None and short.lacks:
            device, term, lacks = short.name, short.largest_term, short.lacks
        else:
            device, term, lacks = "the host", "weights", estimate.host.lacks
        self.rejected = Rejected(candidate, num_ctx, kind, device, term, lacks, estimate)


def ways(search: Search, ordered: Sequence[Candidate]) -> Iterator[Choice]:
    """Every possibility that fits, best first."""
    fixed = search.wanted.num_gpu
    if isinstance(fixed, int):
        yield from _fixed(search, ordered, fixed)
        return
    if search.gpus:
        for candidate in ordered:
            yield from on_gpus(search, candidate)
        if search.wanted.partial:
            for candidate in ordered:
                yield from _partly(search, candidate)
    if search.wanted.cpu:
        for candidate in ordered:
            yield from _on_cpu(search, candidate)


def on_gpus(search: Search, candidate: Candidate) -> Iterator[Choice]:
    """What fits of one quantisation with every layer on the GPUs: the best of it, if anything."""
    kinds = search.kv_types(candidate.facts)
    wanted, floor = search.contexts(candidate.facts)
    for kind in kinds:
        if found := search.whole(candidate, wanted, kind):
            yield _choice(search, candidate, "gpu", wanted, kind, found)
            return
    # The last type takes least: the largest context is the one that fits with it.
    steps = range(floor, wanted, CONTEXT_STEP)
    low, high = -1, len(steps)
    while high - low > 1:
        middle = (low + high) // 2
        if search.whole(candidate, steps[middle], kinds[-1]):
            low = middle
        else:
            high = middle
    if low < 0:
        return
    for kind in kinds:
        if found := search.whole(candidate, steps[low], kind):
            yield _choice(search, candidate, "gpu", steps[low], kind, found)
            return


def _partly(search: Search, candidate: Candidate) -> Iterator[Choice]:
    facts, kinds = candidate.facts, search.kv_types(candidate.facts)
    _, floor = search.contexts(facts)
    engine_fits = generation_of(search.wanted.release) == "from-0.30"
    if facts.experts and engine_fits:
        low, high = 0, facts.block_count + 1
        while high - low > 1:
            middle = (low + high) // 2
            if search.whole(candidate, floor, kinds[-1], middle):
                high = middle
            else:
                low = middle
        if high <= facts.block_count and (found := search.whole(candidate, floor, kinds[-1], high)):
            yield _choice(search, candidate, "experts-on-host", floor, kinds[-1], found)
            return
    found = search.estimate(candidate, floor, kinds[-1], "auto")
    if found.fits and found.layers_offloaded:
        yield _choice(search, candidate, "partial", floor, kinds[-1], found)


def _on_cpu(search: Search, candidate: Candidate) -> Iterator[Choice]:
    kind = search.kv_types(candidate.facts)[0]
    wanted, floor = search.contexts(candidate.facts)
    for num_ctx in dict.fromkeys((wanted, floor)):
        found = search.estimate(candidate, num_ctx, kind, 0)
        if found.fits:
            yield _choice(search, candidate, "cpu", num_ctx, kind, found)
            return


def _fixed(search: Search, ordered: Sequence[Candidate], num_gpu: int) -> Iterator[Choice]:
    """`num_gpu` is given and not to be changed: quantisation, context and cache are what can be."""
    for candidate in ordered:
        kinds = search.kv_types(candidate.facts)
        wanted, floor = search.contexts(candidate.facts)
        for num_ctx in dict.fromkeys((wanted, *range(wanted - CONTEXT_STEP, floor, -CONTEXT_STEP), floor)):
            for kind in kinds:
                found = search.estimate(candidate, num_ctx, kind, num_gpu)
                if found.fits:
                    way: Way = "gpu" if found.full else "partial" if found.layers_offloaded else "cpu"
                    yield _choice(search, candidate, way, num_ctx, kind, found)
                    return
                search.reject(candidate, num_ctx, kind, found)


def _choice(
    search: Search, candidate: Candidate, way: Way, num_ctx: int, kind: KvType, estimate: Estimate
) -> Choice:
    asked = search.wanted.num_gpu
    written: int | None
    if isinstance(asked, int):
        written = asked
    elif asked == "engine" or (way != "cpu" and generation_of(search.wanted.release) == "from-0.30"):
        written = None
    else:
        written = estimate.layers_offloaded
    return Choice(
        candidate=candidate,
        way=way,
        num_ctx=num_ctx,
        kv_type=kind,
        num_gpu=estimate.layers_offloaded,
        written_num_gpu=written,
        num_batch=search.wanted.num_batch,
        estimate=estimate,
        rejected=search.rejected,
    )


def ordered_by(candidates: Sequence[Candidate], wanted: Preferences) -> list[Candidate]:
    """The candidates whose quantisation is acceptable, in the order of preference."""
    order = [name.upper() for name in wanted.quantizations or USUAL]
    known = [candidate for candidate in candidates if candidate.quantization.upper() in order]
    return sorted(known, key=lambda candidate: order.index(candidate.quantization.upper()))
