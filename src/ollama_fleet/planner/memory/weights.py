"""Bytes of weights in a range of layers."""

from __future__ import annotations

from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory.split import HOST, Range
from ollama_fleet.planner.memory.table import layer_table


def weights(facts: ModelFacts, part: Range, cpu_experts: int) -> int:
    """Weights of one range on its device, exact from the tensors.

    The output goes with the range that has it; where embeddings are tied, a GPU gets a copy of the embedding
    for it while the host has the one copy anyway (`host_weights`).
    """
    table = layer_table(facts)
    total = (
        table.dense[part.last]
        - table.dense[part.first]
        + table.experts[part.last]
        - table.experts[part.first]
    )
    if part.device != HOST:
        kept = min(max(cpu_experts, part.first), part.last)
        total -= table.experts[kept] - table.experts[part.first]
    if part.output:
        total += facts.output_norm_bytes + facts.output_bytes
        if facts.tied_embeddings and part.device != HOST:
            total += facts.token_embd_bytes
    return total


def host_weights(facts: ModelFacts, parts: tuple[Range, ...], cpu_experts: int) -> int:
    """Weights in host memory: the input, the layers of the host's ranges, and experts kept off the GPUs."""
    table = layer_table(facts)
    total = facts.token_embd_bytes + facts.input_bytes
    for part in parts:
        if part.device == HOST:
            total += weights(facts, part, cpu_experts)
        else:
            kept = min(max(cpu_experts, part.first), part.last)
            total += table.experts[kept] - table.experts[part.first]
    return total


def staged(facts: ModelFacts, parts: tuple[Range, ...], cpu_experts: int, *, pairs: bool) -> int:
    """Room for what a GPU copies over from the host, 0 where no repeating layer has anything there.

    For long prompts the engine copies a tensor to the GPU and multiplies there, one at a time; of experts it copies
    the two that are multiplied first (gate and up), where `pairs` is true.
    """
    kept = (
        (part.first, part.last if part.device == HOST else min(max(cpu_experts, part.first), part.last))
        for part in parts
    )
    return max((most_staged(facts, first, last, pairs=pairs) for first, last in kept), default=0)


def most_staged(facts: ModelFacts, first: int, last: int, *, pairs: bool) -> int:
    """The same for layers `first` … `last − 1`, were they on the host."""
    table = layer_table(facts)
    most = max(table.largest[first:last], default=0)
    if pairs and facts.experts:
        # The third tensor of the experts, down, is as large as the others or, in mixed quantisations, larger.
        two = (
            table.experts[layer + 1] - table.experts[layer] - table.largest[layer]
            for layer in range(first, last)
        )
        most = max(most, max(two, default=0))
    return most
