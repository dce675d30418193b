"""One model on one machine: the sum of the terms, held against what is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ollama_fleet.artifacts.measured import Correction, scaled
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory.budget import GpuBudget
from ollama_fleet.planner.memory.compute import Graph, device_compute, host_compute
from ollama_fleet.planner.memory.draft import draft_bytes, projector_bytes
from ollama_fleet.planner.memory.engine import (
    all_logits,
    automatic_batch,
    flash_attention,
    generation_of,
    quantized_cache,
    sequences,
    sequences_apart,
    staged_in_pairs,
)
from ollama_fleet.planner.memory.estimate import Confidence, DeviceMemory, Estimate, HostMemory
from ollama_fleet.planner.memory.kv_cache import Context, kv_cache
from ollama_fleet.planner.memory.options import KV_BLOCKS, FitOptions, KvType
from ollama_fleet.planner.memory.reserve import MEASURED_MARGIN, ReservePolicy
from ollama_fleet.planner.memory.split import HOST, Range, filled, split
from ollama_fleet.planner.memory.weights import host_weights, most_staged, staged, weights

MIB = 2**20
_SINGLE_GPU_SHARE = 80
"""Ollama takes one GPU alone where its guess is at most this much of the free memory, in hundredths."""


def fit(
    facts: ModelFacts,
    gpus: Sequence[GpuBudget],
    options: FitOptions | None = None,
    *,
    host_free: int | None = None,
    reserve: ReservePolicy | None = None,
    correction: Correction | None = None,
) -> Estimate:
    """Estimate one placement.

    Args:
        facts: the model.
        gpus: the machine's GPUs, none for the CPU alone.
        options: what is asked.
        host_free: bytes free in host memory, None where nobody knows.
        reserve: how much to keep free on a GPU.
        correction: by what was measured of this model on these GPUs; then the reserve is what was measured, too.

    Returns:
        every term, also where it does not fit. With `num_gpu` left open: the most layers that fit, or, where not
        even one does, the CPU alone.

    Raises:
        ValueError: a quantised V cache without flash attention, or a release that is no version.
    """
    wanted, kept = options or FitOptions(), reserve or ReservePolicy()
    return _fit(facts, tuple(gpus), wanted, host_free, kept, correction)


def _fit(
    facts: ModelFacts,
    gpus: tuple[GpuBudget, ...],
    options: FitOptions,
    host_free: int | None,
    reserve: ReservePolicy,
    correction: Correction | None,
) -> Estimate:
    case = replace(_Case.of(facts, gpus, options, host_free, reserve), correction=correction)
    most = facts.block_count + 1
    if isinstance(options.num_gpu, int):
        return case.estimate(min(options.num_gpu, most))
    if not gpus:
        return case.estimate(0)
    found = case.estimate(most)
    if found.fits or options.num_gpu == "all":
        return found
    # Each layer fewer on the GPU takes less there, so the largest number that fits is found by halving.
    low, high, best = 0, most, case.estimate(0)
    while high - low > 1:
        middle = (low + high) // 2
        tried = case.estimate(middle)
        if all(not device.lacks for device in tried.devices):
            low, best = middle, tried
        else:
            high = middle
    if low == 0:
        return replace(best, reasons=(*best.reasons, *_why_not(found)))
    return best


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything of a placement but the number of layers."""

    facts: ModelFacts
    gpus: tuple[GpuBudget, ...]
    used: tuple[int, ...]
    options: FitOptions
    context: Context
    flash: bool
    all_logits: bool
    host_free: int | None
    reserve: ReservePolicy
    told: tuple[str, ...]
    correction: Correction | None = None

    @classmethod
    def of(
        cls,
        facts: ModelFacts,
        gpus: tuple[GpuBudget, ...],
        options: FitOptions,
        host_free: int | None,
        reserve: ReservePolicy,
    ) -> _Case:
        generation = generation_of(options.release)
        told: list[str] = []
        flash, kv_types = _attention(facts, options, all(gpu.fused_attention for gpu in gpus), told)
        batch = options.num_batch
        if batch is None:
            batch = automatic_batch(options.num_ctx, generation)
            if batch > 512:
                told.append(
                    f"num_batch is reckoned as {batch}, to which the engine may raise it; 512 takes less"
                )
        count = (
            options.num_parallel if options.unified else sequences(facts, generation, options.num_parallel)
        )
        if count < options.num_parallel:
            told.append(f"{facts.architecture} gets one sequence at a time, not {options.num_parallel}")
        if facts.context_length and options.num_ctx > facts.context_length:
            told.append(
                f"num_ctx {options.num_ctx} is beyond the {facts.context_length} tokens that the model was trained on"
            )
        if isinstance(options.num_gpu, int):
            told += _about_layers(options.num_gpu, facts.block_count + 1)
        if not facts.known:
            told.append(
                f"the architecture {facts.architecture} is not known here: cache and compute are upper bounds"
            )
        context = Context(
            options.num_ctx,
            count,
            batch,
            *kv_types,
            generation,
            options.unified,
            sequences_apart(facts, options.release),
        )
        return cls(
            facts=facts,
            gpus=gpus,
            used=_used_gpus(facts, gpus, options),
            options=options,
            context=context,
            flash=flash,
            all_logits=all_logits(facts, options.release)
            if options.all_logits is None
            else options.all_logits,
            host_free=host_free,
            reserve=reserve,
            told=tuple(told),
        )

    def estimate(self, num_gpu: int) -> Estimate:
        """The estimate with so many layers on the GPUs."""
        free = [self.gpus[place].free for place in self.used]
        generation = self.context.generation
        parts = split(self.facts.block_count, num_gpu, free, generation)
        estimate = self._of_parts(num_gpu, parts)
        if estimate.fits or isinstance(self.options.num_gpu, int) or len(self.used) < 2 or num_gpu < 1:
            return estimate
        graph = self._graph(num_gpu, len(self.used))

        def fits(part: Range) -> bool:
            # All layers stand for those that are left on the host: an upper bound.
            copied = (
                most_staged(self.facts, 0, self.facts.block_count, pairs=self.pairs) if graph.partial else 0
            )
            later = part.device > 0
            return not self._device(self.gpus[self.used[part.device]], part, graph, copied, later=later).lacks

        moved = filled(self.facts.block_count, num_gpu, len(self.used), generation, fits)
        return estimate if moved is None else self._of_parts(num_gpu, moved)

    def _graph(self, num_gpu: int, devices: int) -> Graph:
        whole = num_gpu > self.facts.block_count and devices > 0
        return Graph(
            facts=self.facts,
            context=self.context,
            flash=self.flash,
            all_logits=self.all_logits,
            partial=not whole or self.experts > 0,
            pipelined=whole and not self.experts and devices > 1,
        )

    @property
    def experts(self) -> int:
        """Layers whose experts stay on the host."""
        return self.options.cpu_experts if self.facts.experts else 0

    @property
    def pairs(self) -> bool:
        """Two tensors of experts are copied over at a time."""
        return staged_in_pairs(self.options.release)

    def _of_parts(self, num_gpu: int, parts: tuple[Range, ...]) -> Estimate:
        facts, experts = self.facts, self.experts
        layers = facts.block_count + 1
        offloaded = [part for part in parts if part.device != HOST]
        graph = self._graph(num_gpu, len(offloaded))
        copied = staged(facts, parts, experts, pairs=self.pairs)
        devices = []
        by_place = {self.used[part.device]: part for part in offloaded}
        first = min(by_place, default=0)
        for place, gpu in enumerate(self.gpus):
            part = by_place.get(place)
            if part is None:
                devices.append(DeviceMemory(gpu.name, 0, 0, 0, 0, 0, gpu.free))
            else:
                devices.append(self._device(gpu, part, graph, copied, later=place != first))
        host_kv = sum(kv_cache(facts, part, self.context) for part in parts if part.device == HOST)
        own = host_weights(facts, parts, experts)
        buffer = host_compute(graph, parts)
        host = HostMemory(own, host_kv, buffer, own + host_kv + buffer, self.host_free)
        unfit = _short(devices, host, self.gpus)
        worked_on_host = experts > 0 or any(part.device == HOST and part.last > part.first for part in parts)
        if worked_on_host and self.host_free is None:
            unknown = [
                f"{mebibytes(host.total)} MiB of host memory are needed; whether they are there is not known"
            ]
        else:
            unknown = []
        return Estimate(
            model=facts.name or facts.architecture,
            devices=tuple(devices),
            host=host,
            layers_total=layers,
            layers_offloaded=min(num_gpu, layers) if offloaded else 0,
            fits=not unfit,
            confidence=_confidence(facts, graph),
            reasons=(*self.told, *unknown, *unfit),
            num_ctx=self.options.num_ctx,
            num_batch=self.context.batch,
            flash_attention=self.flash,
        )

    def _device(self, gpu: GpuBudget, part: Range, graph: Graph, copied: int, *, later: bool) -> DeviceMemory:
        facts = self.facts
        held = weights(facts, part, self.experts)
        cache = kv_cache(facts, part, self.context)
        compute, staging = device_compute(graph, part, copied, later=later)
        kept = self.reserve(gpu.total, later=later) + staging
        if (known := self.correction) is not None:
            held, cache = scaled(held, known.weights), scaled(cache, known.kv)
            compute, staging = scaled(compute, known.compute), 0
            kept = known.beside + MEASURED_MARGIN
        projector = 0 if later else projector_bytes(facts)
        draft = draft_bytes(facts, self.options, self.context) if part.output else 0
        total = held + cache + compute + kept + projector + draft
        return DeviceMemory(gpu.name, held, cache, compute, kept, total, gpu.free, projector, draft, staging)


def _attention(
    facts: ModelFacts, options: FitOptions, supported: bool, told: list[str]
) -> tuple[bool, tuple[KvType, KvType]]:
    """Whether attention is fused, and the types of the cache. Raises ValueError where they exclude each other."""
    flash = flash_attention(facts, options.release, options.flash_attention, supported)
    kv_types = options.kv_type_k, options.kv_type_v
    if all(KV_BLOCKS[kind][0] == 1 for kind in kv_types):
        return flash, kv_types
    asked = options.flash_attention
    if asked is None and supported and generation_of(options.release) == "to-0.24":
        if not quantized_cache(facts, options.release, None, supported):
            told.append("this release keeps the cache in f16 unless OLLAMA_FLASH_ATTENTION is set")
            return flash, ("f16", "f16")
    elif not flash and KV_BLOCKS[options.kv_type_v][0] > 1:
        if asked is not None or not supported:
            raise ValueError(
                f"a {options.kv_type_v} V cache needs flash attention, which is off here; use kv type f16"
            )
        flash = True
        told.append(f"the {options.kv_type_v} cache is reckoned with flash attention, which it needs")
    return flash, kv_types


def _about_layers(num_gpu: int, layers: int) -> list[str]:
    """What to say of a number of layers that may be a mistake."""
    if num_gpu > layers:
        return [f"num_gpu {num_gpu} is beyond the {layers} layers there are, so all of them are meant"]
    if num_gpu in (1, 2) and layers > 2:
        return [f"num_gpu {num_gpu} is a number of layers, not of GPUs: {layers - num_gpu} stay on the host"]
    return []


def _used_gpus(facts: ModelFacts, gpus: tuple[GpuBudget, ...], options: FitOptions) -> tuple[int, ...]:
    """The GPUs that take part: one alone where the model clearly fits there, else all."""
    if len(gpus) < 2 or options.spread:
        return tuple(range(len(gpus)))
    width = 2 * facts.block_count * facts.kv_heads * (facts.embedding_length // max(facts.heads, 1))
    guess = (facts.file_bytes or facts.total_bytes) + 2 * width * options.num_ctx * options.num_parallel
    best = max(range(len(gpus)), key=lambda place: (gpus[place].free, -place))
    if guess * 100 <= gpus[best].free * _SINGLE_GPU_SHARE:
        return (best,)
    return tuple(range(len(gpus)))


def _short(devices: Sequence[DeviceMemory], host: HostMemory, gpus: Sequence[GpuBudget]) -> list[str]:
    """A sentence for each place where memory is missing."""
    said = [
        f"{device.name} lacks {mebibytes(device.lacks)} MiB: {described(device)} of {device.free // MIB} free"
        for device in devices
        if device.lacks
    ]
    if host.lacks and host.free is not None:
        said.append(
            f"the host lacks {mebibytes(host.lacks)} MiB: {host.total // MIB} MiB of {host.free // MIB} free"
        )
    for device, gpu in zip(devices, gpus, strict=True):
        together = device.total + host.total
        if gpu.unified and not device.lacks and together > max(gpu.free, gpu.total):
            said.append(
                f"{gpu.name} shares its memory with the host: {together // MIB} of {gpu.total // MIB} MiB"
            )
    return said


def described(device: DeviceMemory) -> str:
    """The terms of a device in MiB, for people."""
    terms = [
        ("weights", device.weights),
        ("cache", device.kv),
        ("compute", device.compute),
        ("projector", device.projector),
        ("draft", device.draft),
        ("reserve", device.reserve),
    ]
    shown = " + ".join(f"{name} {size // MIB}" for name, size in terms if size)
    return f"{shown} = {device.total // MIB} MiB"


def mebibytes(size: int) -> int:
    """MiB, rounded up."""
    return -(-size // MIB)


def _why_not(full: Estimate) -> tuple[str, ...]:
    return tuple(f"on the GPU: {reason}" for reason in full.reasons if "lacks" in reason)


def _confidence(facts: ModelFacts, graph: Graph) -> Confidence:
    if not facts.known:
        return "low"
    plain = not facts.experts and not facts.latent and not facts.recurrent and not facts.window
    if plain and not facts.projector and not graph.partial and graph.context.generation == "from-0.30":
        return "high"
    return "medium"
