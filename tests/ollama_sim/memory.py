"""The stand-in's own law of memory: what a model takes, and where its layers go.

It is deliberately not the planner's formula. Weights and KV come from the file's tensors, the compute graph is a
rough share of them, and a seeded noise of up to 15 % lies over all of it, so that agreement means something.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_sim import gguf
from ollama_sim.machine import Gpu

MIB = 1 << 20
# Bytes per element of the KV cache, blocks of 32 with a scale of two bytes included.
KV_BYTES = {"": 2.0, "f16": 2.0, "bf16": 2.0, "f32": 4.0, "q8_0": 34 / 32, "q4_0": 18 / 32, "q4_1": 20 / 32}
CONTEXT_BYTES = 280 * MIB  # what a CUDA context takes on a device, whatever it runs


@dataclass(frozen=True)
class Footprint:
    """What a model needs, in bytes. Layer `len(blocks)` is the output layer."""

    blocks: tuple[int, ...]
    output: int
    kv: tuple[int, ...]
    graph: int

    @property
    def layers(self) -> int:
        """Layers that can be offloaded: the blocks and the output."""
        return len(self.blocks) + 1

    def layer(self, number: int) -> int:
        """Bytes of a layer with its KV cache."""
        return self.output if number == len(self.blocks) else self.blocks[number] + self.kv[number]

    @property
    def total(self) -> int:
        return sum(self.blocks) + sum(self.kv) + self.output + self.graph


@dataclass(frozen=True)
class Share:
    """What lies in one place, in bytes."""

    weights: int = 0
    kv: int = 0
    graph: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.graph


@dataclass(frozen=True)
class Layout:
    """Where a model lies: a share per device and one on the host, and how many layers were offloaded."""

    gpus: Mapping[str, Share]
    host: Share
    offloaded: int
    layers: int

    @property
    def vram(self) -> int:
        return sum(share.total for share in self.gpus.values())

    @property
    def total(self) -> int:
        return self.vram + self.host.total


class DoesNotFitError(Exception):
    """The layers that were asked for do not fit; `short` is how many bytes are missing.

    `term` is what was being allocated when memory ran out, in the engines' order (weights, kv, graph), and `size`
    how many bytes of it.
    """

    def __init__(self, layers: int, short: int, term: str, size: int) -> None:
        super().__init__(f"{layers} layers do not fit, {short} bytes short")
        self.layers = layers
        self.short = short
        self.term = term
        self.size = size


def footprint(
    header: gguf.Header,
    *,
    context: int,
    parallel: int,
    kv_type: str,
    pretend: Mapping[str, Any],
    noise: float,
) -> Footprint:
    """What the model of `header` takes with `context` tokens for each of `parallel` requests."""
    count = max(int(pretend.get("layers", header.blocks + 1)) - 1, 1)
    per_block, other = gguf.layer_bytes(header)
    if weights := pretend.get("weights_bytes"):
        share = int(weights) // (count + 1)
        blocks, output = (share,) * count, share
    else:
        blocks, output = tuple(per_block.get(number, 0) for number in range(count)), other
    per_token = pretend.get("kv_bytes_per_token")
    if per_token is None:
        heads = max(header.number("attention.head_count", 1), 1)
        width = header.number("embedding_length") // heads
        key = header.number("attention.key_length", width)
        value = header.number("attention.value_length", width)
        elements = header.number("attention.head_count_kv", heads) * (key + value)
        per_token = elements * count * 2
    cells = context * max(parallel, 1)
    one = int(per_token / count * cells * KV_BYTES.get(kv_type, 2.0) / 2.0)
    graph = 48 * MIB + context * header.number("embedding_length") * 4

    def noisy(size: int) -> int:
        return int(size * (1 + noise))

    return Footprint(
        tuple(map(noisy, blocks)),
        noisy(output),
        (noisy(one),) * count,
        noisy(int(pretend.get("graph_bytes", graph))),
    )


def noise(scenario: Mapping[str, Any], model: str) -> float:
    """The seeded share by which this model differs from the formula, within ±`noise` (at most 0.15)."""
    width = min(float(scenario.get("noise", 0.0)), 0.15)
    return random.Random(f"{scenario.get('seed', 0)}:{model}").uniform(-width, width)


def place(
    need: Footprint, gpus: Sequence[Gpu], free: Mapping[str, int], wanted: int, *, output_first: bool = True
) -> Layout:
    """Put the model onto the devices. `wanted` layers, or as many as fit where it is negative.

    `output_first`: one layer is the output layer, as from 0.30 on; before, it went to a GPU when all others were there.

    Raises DoesNotFitError where an explicit number does not fit.
    """
    if not gpus or wanted == 0:
        return _on_host(need)
    layers = need.layers if wanted < 0 else min(wanted, need.layers)
    for count in range(layers, 0, -1):
        placed = _split(need, gpus, free, _layers(need, count, output_first))
        if isinstance(placed, Layout):
            return placed
        if wanted > 0:
            room = sum(free[gpu.id] for gpu in gpus)
            raise DoesNotFitError(count, placed, *_at(need, _layers(need, count, output_first), room))
    return _on_host(need)


def late_growth(scenario: Mapping[str, Any], fill: float) -> int:
    """Bytes that each device needs beside the buffers once `fill` (0 to 1) of the context is in use."""
    return int(int(scenario.get("late_growth_bytes", 0)) * min(max(fill, 0.0), 1.0))


def _layers(need: Footprint, count: int, output_first: bool) -> range:
    """Which layers `count` of them are: the last ones."""
    last = need.layers if output_first or count == need.layers else need.layers - 1
    return range(last - count, last)


def _at(need: Footprint, layers: range, room: int) -> tuple[str, int]:
    share = _share(need, layers, need.graph)
    if share.weights + CONTEXT_BYTES > room:
        return "weights", share.weights
    return ("kv", share.kv) if share.weights + share.kv + CONTEXT_BYTES > room else ("graph", share.graph)


def _on_host(need: Footprint) -> Layout:
    share = Share(sum(need.blocks) + need.output, sum(need.kv), need.graph)
    return Layout({}, share, 0, need.layers)


def _split(need: Footprint, gpus: Sequence[Gpu], free: Mapping[str, int], layers: range) -> Layout | int:
    """Lay layers over the devices in turn; the bytes that are missing where they do not fit."""
    overhead = CONTEXT_BYTES + need.graph
    room = [max(free[gpu.id] - overhead, 0) for gpu in gpus]
    used = [0] * len(gpus)
    held: dict[str, list[int]] = {}
    device = 0
    for number in layers:
        size = need.layer(number)
        while device < len(gpus) and used[device] + size > room[device]:
            device += 1
        if device == len(gpus):
            return sum(need.layer(n) for n in layers) + overhead - sum(room)
        used[device] += size
        held.setdefault(gpus[device].id, []).append(number)
    left = [number for number in range(need.layers) if number not in layers]
    host = _share(need, left, need.graph // 4 if left else 0)
    shares = {gpu: _share(need, numbers, need.graph) for gpu, numbers in held.items()}
    return Layout(shares, host, len(layers), need.layers)


def _share(need: Footprint, numbers: Sequence[int], graph: int) -> Share:
    blocks = [number for number in numbers if number < len(need.blocks)]
    output = need.output if len(need.blocks) in numbers else 0
    return Share(sum(need.blocks[n] for n in blocks) + output, sum(need.kv[n] for n in blocks), graph)
