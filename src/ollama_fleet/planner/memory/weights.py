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


def largest_host_tensor(facts: ModelFacts, parts: tuple[Range, ...], cpu_experts: int) -> int:
    """The largest single tensor of a repeating layer that stays in host memory, 0 where none does.

    For long prompts the engine copies such a tensor to the GPU and multiplies there, so the GPU needs room for
    one.
    """
    table = layer_table(facts)
    largest = 0
    for part in parts:
        if part.device == HOST:
            sizes = table.largest[part.first : part.last]
        else:
            sizes = table.largest[part.first : min(max(cpu_experts, part.first), part.last)]
        largest = max(largest, max(sizes, default=0))
    return largest
