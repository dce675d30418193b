"""What goes beside the model itself: the projector of a vision model, and whatever drafts tokens ahead."""

from __future__ import annotations

from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory.kv_cache import Context, kv_cache
from ollama_fleet.planner.memory.options import FitOptions
from ollama_fleet.planner.memory.split import Range

GIB = 2**30


def projector_bytes(facts: ModelFacts) -> int:
    """Room for an image encoder: 1.4 × its file for weights and their copies, and 1 GiB to work in.

    The work grows with the picture, so this is an allowance: Ollama reckons with 1 GiB for Gemma 3's.
    """
    if facts.projector is None:
        return 0
    return facts.projector.file_bytes * 7 // 5 + GIB


def draft_bytes(facts: ModelFacts, options: FitOptions, context: Context) -> int:
    """Weights and cache of what drafts: a model of its own, or the model's own drafting layers."""
    total = 0
    if options.draft is not None:
        whole = Range(0, 0, options.draft.block_count, output=True)
        total += options.draft.total_bytes + kv_cache(options.draft, whole, context)
    if options.nextn and facts.nextn_layers:
        layers = list(facts.each_layer())[-facts.nextn_layers :]
        total += sum(run.bytes for run in layers)
        block = 2 * (facts.key_length + facts.value_length) * facts.kv_heads
        total += len(layers) * block * context.cells * context.streams
    return total
