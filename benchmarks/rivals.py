"""Other ways to estimate the memory of a model on a GPU, each in its own published terms. Results in MiB.

- the tutorial's rule of thumb: 0.6 GB for 10^9 parameters at four bits, 2 GB at sixteen;
- Ollama to 0.9: weights, f16 cache, and a graph size per architecture that knows no flash attention;
- text-generation-webui: a regression over 19,517 measurements (the project's blog, "gguf-vram-formula");
- KoboldCpp: the file times 1.55;
- file and cache: the size of the file, the cache by the usual formula, 10 % on top, as many calculators do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory import FitOptions
from ollama_fleet.planner.memory.options import KV_BLOCKS

MIB = 2**20


@dataclass(frozen=True)
class Case:
    """What is estimated: `flash` as it was measured, `file_bytes` all weights together."""

    facts: ModelFacts
    options: FitOptions
    flash: bool
    file_bytes: float

    @property
    def batch(self) -> int:
        """Tokens of a batch."""
        return self.options.num_batch or 512

    @property
    def cache(self) -> float:
        """Cache bytes by the usual formula: layers × context × (K + V), all layers alike."""
        facts, options = self.facts, self.options
        size = 0.0
        for length, kind in ((facts.key_length, options.kv_type_k), (facts.value_length, options.kv_type_v)):
            block, width = KV_BLOCKS[kind]
            size += facts.block_count * options.num_ctx * facts.kv_heads * length * width / block
        return size


def rule_of_thumb(case: Case) -> float:
    """Bytes per parameter only; between four and sixteen bits in proportion."""
    bits = max(4.5, min(8 * case.file_bytes / case.facts.parameters, 16))
    per_parameter = 0.6 + (bits - 4.5) * (2 - 0.6) / (16 - 4.5)
    return case.facts.parameters * per_parameter / MIB


def ollama_graph_sizes(case: Case) -> float:
    """Ollama to 0.9, dense llama and qwen2 shapes: the larger of an attention and an output term."""
    facts, batch, ctx = case.facts, case.batch, case.options.num_ctx
    embedding, heads = facts.embedding_length, facts.heads
    graph = max(
        4 * batch * (1 + 4 * embedding + ctx * (1 + heads)),
        4 * batch * (embedding + facts.vocabulary),
    )
    if facts.architecture.startswith("qwen"):
        graph = max(
            4 * batch * (embedding + facts.vocabulary),
            4 * batch * (1 + 2 * embedding + ctx + ctx * heads),
        )
    return (case.file_bytes + case.cache + graph) / MIB


def webui_regression(case: Case) -> float:
    """text-generation-webui's regression: layers, context and width of the cache, nothing of the batch."""
    facts, options = case.facts, case.options
    bits = {"q4_0": 4, "q8_0": 8}.get(options.kv_type_k, 16)
    per_layer = case.file_bytes / MIB / facts.block_count
    factor = facts.kv_heads * bits * options.num_ctx
    layers = facts.block_count
    shift = bits - (floor(50.77817218646521 * facts.embedding_length / options.num_ctx) + 9.987899908205632)
    slope = per_layer - 17.99552795246051 + 3.148552680382576e-05 * factor
    return slope * (layers + max(0.9690636483914102, shift)) + 1516.522943869404


def file_times(case: Case) -> float:
    """KoboldCpp: the file times 1.55."""
    return case.file_bytes * 1.55 / MIB


def file_and_cache(case: Case) -> float:
    """File and cache and a tenth more."""
    return (case.file_bytes + case.cache) * 1.1 / MIB


RIVALS: dict[str, Callable[[Case], float]] = {
    "rule of thumb (tutorial)": rule_of_thumb,
    "graph sizes (Ollama to 0.9)": ollama_graph_sizes,
    "regression (text-generation-webui)": webui_regression,
    "file × 1.55 (KoboldCpp)": file_times,
    "file + cache + 10 %": file_and_cache,
}
