"""Bytes that the context takes: the K and V cache of attention layers, the state of recurrent ones."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.artifacts.model_facts import LayerRun, ModelFacts
from ollama_fleet.planner.memory.engine import RECURRENT_CHECKPOINTS, Generation, kept_tokens
from ollama_fleet.planner.memory.options import KV_BLOCKS, KvType
from ollama_fleet.planner.memory.split import Range
from ollama_fleet.planner.memory.table import layer_table

_PADDING = 256


@dataclass(frozen=True, slots=True)
class Context:
    """What a cache is made for: tokens of one sequence, sequences, tokens of a batch, types of K and V.

    `unified`: the sequences share one cache, of `num_ctx` tokens together. `apart`: attention looks at one sequence's
    cells at a time.
    """

    num_ctx: int
    sequences: int
    batch: int
    kv_type_k: KvType
    kv_type_v: KvType
    generation: Generation
    unified: bool = False
    apart: bool = True

    @property
    def cells(self) -> int:
        """Tokens that one sequence's cache has room for: engines round up to 256."""
        return padded(self.num_ctx)

    @property
    def attended(self) -> int:
        """Cells that a token's attention looks at, most of which a mask may hide."""
        return self.cells if self.apart else padded(self.num_ctx * self.streams)

    @property
    def streams(self) -> int:
        """Caches that are kept apart."""
        return 1 if self.unified else self.sequences


def padded(tokens: int) -> int:
    """Tokens, rounded up to what a cache is allocated in."""
    return -(-tokens // _PADDING) * _PADDING


def window_cells(facts: ModelFacts, context: Context) -> int:
    """Cells, over all sequences, of a layer that attends to a window.

    A batch must find room beside the window. Each sequence has its own cache from 0.30 on; before, one cache
    holds all windows and a batch.
    """
    window = max(facts.window, kept_tokens(facts, context.generation))
    if context.unified:
        return min(context.cells, padded(window * context.sequences + context.batch))
    apart = context.sequences * min(context.cells, padded(min(context.num_ctx, window) + context.batch))
    if context.generation == "from-0.30":
        return apart
    if window >= context.num_ctx:
        return context.cells * context.sequences
    together = padded(window * context.sequences + context.batch)
    return together if context.generation == "to-0.24" else max(apart, together)


def kv_cache(facts: ModelFacts, part: Range, context: Context) -> int:
    """Cache of the layers of one range, bytes; a layer's cache is where the layer is.

    Σ over layers of cells × (K width × bytes + V width × bytes). Exact for known architectures; for unknown
    ones every layer counts as attending to everything.
    """
    table = layer_table(facts)
    first, last = part.first, part.last
    everything = context.cells * context.streams

    def size(cells: int, key: int, value: int) -> int:
        return _row(cells * key, context.kv_type_k) + _row(cells * value, context.kv_type_v)

    total = size(
        everything,
        table.full_key[last] - table.full_key[first],
        table.full_value[last] - table.full_value[first],
    )
    window_key = table.window_key[last] - table.window_key[first]
    if window_key:
        window_value = table.window_value[last] - table.window_value[first]
        total += size(window_cells(facts, context), window_key, window_value)
    latent = table.latent_layers[last] - table.latent_layers[first]
    if latent:
        total += latent * size(everything, *_latent_widths(facts, context.generation))
    recurrent = table.recurrent[last] - table.recurrent[first]
    if recurrent:
        total += recurrent * _recurrent_state(facts, context)
    return total


def layer_widths(facts: ModelFacts, run: LayerRun) -> tuple[int, int]:
    """Elements that one token adds to K and to V of one layer, as the engine from 0.30 keeps them."""
    if run.attention == "latent":
        return _latent_widths(facts, "from-0.30")
    return run.key_width, run.value_width


def _row(elements: int, kv_type: KvType) -> int:
    block, size = KV_BLOCKS[kv_type]
    return -(-elements // block) * size


def _latent_widths(facts: ModelFacts, generation: Generation) -> tuple[int, int]:
    latent = facts.latent
    if latent is None:
        return 0, 0
    compressed = latent.kv_rank + latent.rope_length
    if not latent.split:
        # Without the split up-projections the engine cannot work on the compressed cache.
        return facts.heads * latent.key_length, facts.heads * latent.value_length
    # V is a part of K; engines before 0.30 kept it a second time.
    return compressed, 0 if generation == "from-0.30" else latent.kv_rank


def _recurrent_state(facts: ModelFacts, context: Context) -> int:
    """State of one recurrent layer, for all sequences: always f32, whatever the cache's type."""
    dims = facts.recurrent
    if dims is None:
        return 0
    if dims.wkv_head_size:
        elements = dims.token_shift * facts.embedding_length + facts.embedding_length * dims.wkv_head_size
    elif dims.shortconv_cache:
        elements = facts.embedding_length * (dims.shortconv_cache - 1)
    else:
        convolved = dims.inner_size + 2 * dims.groups * dims.state_size
        elements = max(dims.conv_kernel - 1, 0) * convolved + dims.state_size * dims.inner_size
    copies = 1 if context.generation == "from-0.30" else 1 + RECURRENT_CHECKPOINTS
    return 4 * elements * context.sequences * copies
