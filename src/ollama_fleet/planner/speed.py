"""How fast a placement answers: a range, to set expectations. Nothing is decided by it.

A token is read out of memory: time = active bytes / (efficiency × bandwidth) + a fixed cost per layer. Several
GPUs take turns, so their times add up, as does the host's. On 46 published dense rows an efficiency of 0.85 and
40 µs a layer gave a median error of 6.7 %, a 90th percentile of 45 % (reference rows: benchmarks/data).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory.budget import GpuBudget
from ollama_fleet.planner.memory.estimate import Estimate
from ollama_fleet.planner.memory.table import layer_table

LAYER_SECONDS = 40e-6
DENSE_EFFICIENCY = 0.85
MIXTURE_EFFICIENCY = (0.28, 0.57)
"""Of mixtures of experts, on the bytes of the experts in use: the least and most that was published. It is the
whole time by bytes, so no cost per layer comes on top."""
UNIFIED_EFFICIENCY = 0.6
"""Of GPUs that share the host's memory: published rows of Apple's and AMD's have 0.4 to 0.8."""
HOST_EFFICIENCY = 0.6
"""Of a CPU: what its cores read of the memory's peak, which only well placed threads exceed."""
LEAST, MOST = 0.65, 1.15
"""Range around the prediction for dense models."""


@dataclass(frozen=True, slots=True)
class SpeedRange:
    """Tokens per second, generated one after the other by one sequence."""

    low: float
    expected: float
    high: float

    def __contains__(self, tokens_per_second: float) -> bool:
        return self.low <= tokens_per_second <= self.high


def token_rate(
    facts: ModelFacts,
    estimate: Estimate,
    gpus: Sequence[GpuBudget],
    host_bandwidth: int = 0,
    position: int = 512,
) -> SpeedRange | None:
    """Range of a placement's token rate.

    Args:
        facts: the model.
        estimate: where its layers are.
        gpus: the machine's GPUs, as they were estimated with.
        host_bandwidth: of the host's memory, bytes per second; 0 where unknown.
        position: tokens in the context; their cache is read for each further token.

    Returns:
        None where a bandwidth that it takes is unknown.
    """
    table = layer_table(facts)
    held = table.dense[-1] + table.experts[-1]
    active_share = _active_layer_bytes(facts) / held if held else 1.0
    read_share = min(position, estimate.num_ctx) / max(estimate.num_ctx, 1)
    seconds = [0.0, 0.0, 0.0]
    for device, gpu in zip(estimate.devices, gpus, strict=True):
        if not device.weights:
            continue
        if not gpu.bandwidth:
            return None
        _add(
            seconds,
            _efficiencies(facts, gpu),
            device.weights * active_share + device.kv * read_share,
            gpu.bandwidth,
        )
    # Of the input embedding one row is read.
    on_host = max(estimate.host.weights - facts.token_embd_bytes - facts.input_bytes, 0)
    if facts.tied_embeddings and not estimate.layers_offloaded:
        on_host += facts.token_embd_bytes
    if on_host:
        if not host_bandwidth:
            return None
        host = (HOST_EFFICIENCY * LEAST, HOST_EFFICIENCY, HOST_EFFICIENCY * MOST)
        if facts.experts:
            host = _mixture()
        _add(seconds, host, on_host * active_share + estimate.host.kv * read_share, host_bandwidth)
    fixed = 0.0 if facts.experts else LAYER_SECONDS * facts.block_count
    slow, expected, fast = (1 / (time + fixed) for time in seconds)
    return SpeedRange(slow, expected, fast)


def active_bytes(facts: ModelFacts) -> int:
    """Bytes of weights that are read for one token: everything but idle experts and the input embedding."""
    output = facts.output_bytes or facts.token_embd_bytes
    return _active_layer_bytes(facts) + output + facts.output_norm_bytes


def _active_layer_bytes(facts: ModelFacts) -> int:
    table = layer_table(facts)
    dense, routed = table.dense[-1], table.experts[-1]
    experts = facts.experts
    return dense + (routed * experts.used // max(experts.count, 1) if experts else routed)


def _efficiencies(facts: ModelFacts, gpu: GpuBudget) -> tuple[float, float, float]:
    if facts.experts:
        return _mixture()
    expected = UNIFIED_EFFICIENCY if gpu.unified else DENSE_EFFICIENCY
    return expected * LEAST, expected, expected * MOST


def _mixture() -> tuple[float, float, float]:
    least, most = MIXTURE_EFFICIENCY
    return least, (least * most) ** 0.5, most


def _add(seconds: list[float], efficiencies: tuple[float, float, float], size: float, bandwidth: int) -> None:
    for place, efficiency in enumerate(efficiencies):
        seconds[place] += size / (efficiency * bandwidth)
