"""Bytes of the buffer in which a batch is worked off: the peak of what has to be live at once.

The engine lays the results of a graph's steps out so that memory is used again as soon as a result has been
read. What remains is the largest set of results alive together. It depends on the shape of a layer, the tokens
of a batch and, through the mask, on the context, but hardly on the number of layers. The formulas were read
off runs of llama.cpp's own `llama-fit-params` over shapes, contexts and batches (tests/golden), which they
meet within 2 %. Elements are f32, four bytes; the mask is f16 where attention is fused, else f32.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ollama_fleet.artifacts.model_facts import Latent, LayerRun, ModelFacts
from ollama_fleet.planner.memory.kv_cache import Context, layer_widths, window_cells
from ollama_fleet.planner.memory.options import KV_BLOCKS
from ollama_fleet.planner.memory.split import HOST, Range
from ollama_fleet.planner.memory.table import layer_table

_F32 = 4
_UNKNOWN_MARGIN = (13, 10)
"""Unknown architecture: 30 % on top."""
_OLD_LOGITS_MARGIN = (6, 5)
"""Servers before 0.30 took up to 15 % more for scores than the scores themselves (published logs)."""
_COPIES = 3
"""Further copies of a batch's inputs, where several GPUs work on successive batches at once."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What decides on the size of the compute buffers.

    `flash`: attention is fused. `all_logits`: scores for every token of a batch. `partial`: layers or experts
    are left on the host. `pipelined`: several GPUs work on successive batches at once. `tokens` of a batch are
    never more than the context holds; `mask` is the bytes of the masks over one sequence's cache, where windowed
    layers have one of their own.
    """

    facts: ModelFacts
    context: Context
    flash: bool
    all_logits: bool
    partial: bool = False
    pipelined: bool = False
    tokens: int = field(init=False)
    mask: int = field(init=False)

    @property
    def quantized_value(self) -> bool:
        """V is kept in blocks, which adds an input to the graph."""
        return KV_BLOCKS[self.context.kv_type_v][0] > 1

    def __post_init__(self) -> None:
        """Work out what every term asks for."""
        context = self.context
        tokens = min(context.batch, context.num_ctx * context.streams)
        cells = context.attended
        if self.facts.window:
            cells += window_cells(self.facts, context) // (context.streams if context.apart else 1)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "mask", tokens * cells * (2 if self.flash else _F32))


def device_compute(graph: Graph, part: Range, staged: int, *, later: bool) -> tuple[int, int]:
    """Compute buffer of a range on a GPU, bytes, and what to keep free for it beyond that.

    Args:
        graph: the graph.
        part: layers and output of the device.
        staged: largest tensor that is copied to the GPU for long prompts; it is live together with the
            feed-forward step, not with attention.
        later: not the first GPU.

    Returns:
        The buffer, as the engine would log it without anything copied over; and the room for the copied tensor,
        with what a slightly smaller context would need more (see `_gap`), so that more context never needs less.
    """
    facts, tokens = graph.facts, graph.tokens
    unit = _F32 * tokens
    runs = layer_table(facts).kinds_in(part.first, part.last)
    attention = max((_attention(graph, run) for run in runs), default=0)
    moved = graph.partial or graph.quantized_value
    feed_forward = held = 0 if runs else unit * 2 * facts.embedding_length
    for run in runs:
        step = _feed_forward(graph, run)
        saved = _gap(graph, run) if moved else 0
        feed_forward = max(feed_forward, step - saved)
        held = max(held, step - min(saved, _grown(graph, run)))
    output = _logits(graph) if part.output else 0
    plain = max(attention, feed_forward, output)
    most = max(plain, held, feed_forward + staged)
    extra = 0
    if graph.pipelined:
        embedding = unit * facts.embedding_length
        extra = _COPIES * graph.mask + (8 if later else 4) * embedding
        if not graph.flash:
            extra += embedding + unit * _widest(facts)
        if facts.latent and not later:
            extra += embedding + unit * 2 * facts.latent.kv_rank
    return _margin(graph, plain + extra), most - plain


def host_compute(graph: Graph, parts: tuple[Range, ...]) -> int:
    """Compute buffer in host memory: inputs and masks, and the layers that the host works on."""
    facts = graph.facts
    unit = _F32 * graph.tokens
    embedding = unit * facts.embedding_length
    cached = 0 if graph.flash else unit * _widest(facts) * (2 if facts.window else 1)
    total = 2 * embedding + graph.mask + cached
    if graph.pipelined:
        total += _COPIES * (graph.mask + embedding + cached)
    for part in parts:
        if part.device != HOST:
            continue
        runs = layer_table(facts).kinds_in(part.first, part.last)
        alone = len(parts) == 1
        saved = (
            max((min(_gap(graph, run), _grown(graph, run)) for run in runs), default=0)
            if alone
            else embedding
        )
        layers = max((max(_attention(graph, run), _feed_forward(graph, run)) for run in runs), default=0)
        layers += embedding - (saved if graph.quantized_value else 0)
        total = max(total, layers, _logits(graph) + embedding if part.output else 0)
    return _margin(graph, total)


def _margin(graph: Graph, size: int) -> int:
    if graph.facts.known:
        return size
    up, down = _UNKNOWN_MARGIN
    return -(-size * up // down)


def _attention(graph: Graph, run: LayerRun) -> int:
    """Peak of the attention step: queries, keys, values, result; without fusion scores of every head as well."""
    if run.attention == "none":
        return 0
    facts = graph.facts
    heads = run.heads or facts.heads
    if facts.latent and run.attention == "latent":
        elements = _latent_elements(facts, facts.latent, heads)
    else:
        queries = heads * facts.key_length
        # Attention among recurrent layers has a gate as wide as the queries.
        elements = 2 * facts.embedding_length + (3 if facts.recurrent else 2) * queries
        elements += run.key_width + run.value_width + _second_cache(facts, run)
    scores = 0 if graph.flash else graph.context.attended * heads
    return _F32 * graph.tokens * (elements + scores) + graph.mask


def _latent_elements(facts: ModelFacts, latent: Latent, heads: int) -> int:
    """MLA: on the compressed cache queries are taken up to its width; else every head has keys and values."""
    embedding = facts.embedding_length
    if latent.split:
        width = latent.key_length + 2 * latent.kv_rank + latent.rope_length
        return heads * width + 4 * embedding + 2 * latent.kv_rank
    expanded = latent.key_length - latent.rope_length + latent.value_length
    return heads * (3 * latent.key_length + expanded + latent.value_length) + 2 * embedding


def _second_cache(facts: ModelFacts, run: LayerRun) -> int:
    """Elements that a second cache, of windowed layers, adds to a step."""
    return run.key_width + run.value_width if facts.window else 0


def _feed_forward(graph: Graph, run: LayerRun) -> int:
    """Peak of the feed-forward step: gate, up and their product, or the results of every expert in use."""
    facts, experts = graph.facts, graph.facts.experts
    embedding = facts.embedding_length
    elements = 3 * run.feed_forward + (2 if facts.recurrent else 3) * embedding
    if experts and run.expert_bytes:
        shared = 3 * experts.shared_feed_forward + 4 * embedding
        # Of each expert in use the result and the weighted result, and what they are added up in.
        rest = 1 if facts.recurrent else 5 + (2 if graph.partial else 0)
        weighted = (2 * experts.used + rest) * embedding
        inner = 3 * experts.used * experts.feed_forward + (5 if graph.partial else 3) * embedding
        elements = max(inner, weighted, shared) + (experts.count if facts.window else 0)
    if not graph.flash:
        elements += run.key_width + run.value_width
    elements += _second_cache(facts, run)
    return _F32 * graph.tokens * elements + graph.mask


def _gap(graph: Graph, run: LayerRun) -> int:
    """One of the embeddings, where it finds room in a gap.

    A further input ahead of the mask (of layers on the host, of a quantised V) leaves a gap if the mask is too
    large for it. So the buffer is smaller by an embedding from the context on at which it is.
    """
    if run.expert_bytes or graph.facts.recurrent or not graph.flash:
        return 0
    if graph.facts.window and graph.quantized_value:
        return 0
    return (
        _F32 * graph.tokens * graph.facts.embedding_length if 0 < _gap_width(graph, run) <= graph.mask else 0
    )


def _grown(graph: Graph, run: LayerRun) -> int:
    """By how much the mask has grown since it became too large for the gap."""
    return max(graph.mask - _gap_width(graph, run), 0)


def _gap_width(graph: Graph, run: LayerRun) -> int:
    embedding = graph.facts.embedding_length
    return _F32 * graph.tokens * min(embedding, max(run.feed_forward - 2 * embedding, 0))


def _logits(graph: Graph) -> int:
    """Scores: of one token for each sequence, of a batch's, or, from 0.30 on, of a batch for each further sequence."""
    facts, context = graph.facts, graph.context
    unit = _F32 * graph.tokens
    if context.unified:
        # One cache, one batch: the scores are those of its tokens, whosoever they are.
        scored = 1 if graph.all_logits or context.sequences > 1 else 0
        return unit * (facts.embedding_length + scored * facts.vocabulary)
    size = 0
    if graph.all_logits:
        size = unit * (facts.vocabulary + facts.embedding_length)
        if context.generation != "from-0.30":
            up, down = _OLD_LOGITS_MARGIN
            size = size * up // down
    elif context.generation == "to-0.24":
        return unit * 2 * facts.embedding_length + _F32 * context.sequences * facts.vocabulary
    if context.generation == "to-0.24":
        return size
    # Seen with several slots.
    return max(size, unit * (2 * facts.embedding_length + (context.sequences - 1) * facts.vocabulary))


def _widest(facts: ModelFacts) -> int:
    """Elements that a token adds to the cache of the layer that needs most."""
    return max((sum(layer_widths(facts, run)) for run in layer_table(facts).kinds), default=0)
