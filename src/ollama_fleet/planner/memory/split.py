"""Which layer goes to which device.

Layers are numbered 0 … block_count − 1; the output is one more, `block_count`. A device number of −1 is the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ollama_fleet.planner.memory.engine import Generation

HOST = -1


@dataclass(frozen=True, slots=True)
class Range:
    """Layers `first` … `last − 1` on one device, with the output or without."""

    device: int
    first: int
    last: int
    output: bool


def split(block_count: int, num_gpu: int, free: Sequence[int], generation: Generation) -> tuple[Range, ...]:
    """Lay the layers out over the host and the GPUs: contiguous ranges in the order of the devices.

    From 0.30 `num_gpu` N ≥ 1 means the output and the last N − 1 repeating layers; before, the last N repeating
    layers, and the output as well at N = layers + 1. Where the release is unknown both are charged: N layers
    and the output. GPUs share in proportion to their free memory: a device takes the layers whose place among
    the offloaded ones lies within its part of the cumulated sum (llama.cpp's default; Ollama's own placement
    before 0.30 fills by size, which comes to the same ranges within a layer).

    Args:
        block_count: repeating layers.
        num_gpu: layers asked for; more than there are is all of them.
        free: bytes free on each GPU that takes part.
        generation: of the engine.
    """
    if num_gpu <= 0 or not free:
        return (Range(HOST, 0, block_count, output=True),)
    count = min(num_gpu, block_count + 1)
    everything = count > block_count
    first = 0 if everything else block_count - count + (1 if generation == "from-0.30" else 0)
    output = everything or generation != "to-0.24"
    ranges = [] if first == 0 else [Range(HOST, 0, first, output=False)]
    if not output:
        ranges = [Range(HOST, 0, first, output=True)]
    bounds = list(accumulate(max(amount, 1) for amount in free))
    places = block_count - first + 1
    start = 0
    for device, bound in enumerate(bounds):
        # A place belongs to the device whose bound it lies below: place / places < bound / all.
        end = places if device == len(free) - 1 else -(-bound * places // bounds[-1])
        if end > start:
            last = first + end
            ranges.append(Range(device, first + start, min(last, block_count), output and last > block_count))
        start = max(start, end)
    return tuple(ranges)


def filled(
    block_count: int, num_gpu: int, devices: int, generation: Generation, fits: Callable[[Range], bool]
) -> tuple[Range, ...] | None:
    """Lay the layers out so that every GPU holds what it can: where any contiguous split fits, this one does.

    The engine's own fitting, at work from 0.30 on where `num_gpu` is not written, moves layers between GPUs
    until they fit; this tells whether it can.

    Args:
        block_count: repeating layers.
        num_gpu: layers asked for, at least 1.
        devices: GPUs that take part.
        generation: of the engine.
        fits: whether a range fits its device; taking layers away from one that fits keeps it so.

    Returns:
        None where there is no such split.
    """
    whole = split(block_count, num_gpu, [1], generation)
    onto = whole[-1]
    ranges = list(whole[:-1])
    start, end = onto.first, onto.last
    for device in range(devices):
        if fits(Range(device, start, end, onto.output)):
            return (*ranges, Range(device, start, end, onto.output))
        low, high = start, end + 1
        while high - low > 1:
            middle = (low + high) // 2
            if fits(Range(device, start, middle, output=False)):
                low = middle
            else:
                high = middle
        if low > start:
            ranges.append(Range(device, start, low, output=False))
            start = low
    return None
