"""The tensors of a model from its dimensions: what its GGUF would list, for the shapes of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ollama_fleet.artifacts.gguf_reader import Header, Tensor
from ollama_fleet.artifacts.quantization import Role, tensor_type

__all__ = ["Shape", "header_of_shape"]

Row = tuple[str, tuple[int, ...], Role]


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a model, named as in GGUF; lengths in elements, `context` in tokens.

    `architecture` is llama, qwen2, qwen3 or deepseek2. `rope_factors` is the length of the table of rope
    frequencies that the Llama 3 models bring. `both_projections`: the file has the up-projections of MLA both
    as one tensor and as two. From `expert_count` on all is 0 for dense models; then also
    `head_length` is that of all heads, where deepseek2 has `key_length` and `value_length`.
    """

    architecture: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int
    head_length: int = 0
    rope_factors: int = 0
    expert_count: int = 0
    expert_used: int = 0
    expert_shared: int = 0
    expert_feed_forward: int = 0
    leading_dense: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    rope_length: int = 0
    key_length: int = 0
    value_length: int = 0
    both_projections: bool = False


def header_of_shape(shape: Shape, quantization: str, name: str) -> Header:
    """The header that a file of this shape and quantisation has.

    Raises:
        KeyError: for a quantisation whose mixture is not known.
    """
    tensors = []
    for tensor, dimensions, role in _rows(shape):
        layer = int(tensor.split(".")[1]) if tensor.startswith("blk.") else 0
        kind = tensor_type(
            quantization, role, dimensions[0], layer, shape.layers, shape.heads // shape.kv_heads
        )
        tensors.append(Tensor.of(tensor, dimensions, kind))
    header = Header(version=3, size=0, tensors=tensors)
    header.values["general.architecture"] = shape.architecture
    header.values["general.name"] = name
    for key, value in _metadata(shape).items():
        if value:
            header.values[f"{shape.architecture}.{key}"] = value
    return header


def _metadata(shape: Shape) -> dict[str, int]:
    return {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.embedding,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.key_length or shape.head_length,
        "attention.value_length": shape.value_length or shape.head_length,
        "attention.q_lora_rank": shape.q_rank,
        "attention.kv_lora_rank": shape.kv_rank,
        "rope.dimension_count": shape.rope_length or shape.head_length,
        "expert_count": shape.expert_count,
        "expert_used_count": shape.expert_used,
        "expert_shared_count": shape.expert_shared,
        "expert_feed_forward_length": shape.expert_feed_forward,
        "leading_dense_block_count": shape.leading_dense,
        "vocab_size": shape.vocabulary,
    }


def _rows(shape: Shape) -> Iterator[Row]:
    yield "token_embd.weight", (shape.embedding, shape.vocabulary), "embedding"
    yield "output_norm.weight", (shape.embedding,), "exact"
    yield "output.weight", (shape.embedding, shape.vocabulary), "output"
    if shape.rope_factors:
        yield "rope_freqs.weight", (shape.rope_factors,), "exact"
    for layer in range(shape.layers):
        for part in (*_attention(shape), *_feed_forward(shape, dense=layer < shape.leading_dense)):
            yield f"blk.{layer}.{part[0]}", part[1], part[2]


def _attention(shape: Shape) -> Iterator[Row]:
    if shape.architecture == "deepseek2":
        yield from _latent_attention(shape)
        return
    queries, keys = shape.heads * shape.head_length, shape.kv_heads * shape.head_length
    yield "attn_norm.weight", (shape.embedding,), "exact"
    yield "attn_q.weight", (shape.embedding, queries), "query"
    yield "attn_k.weight", (shape.embedding, keys), "key"
    yield "attn_v.weight", (shape.embedding, keys), "value"
    yield "attn_output.weight", (queries, shape.embedding), "attention_output"
    if shape.architecture == "qwen2":
        for part, length in (("q", queries), ("k", keys), ("v", keys)):
            yield f"attn_{part}.bias", (length,), "exact"
    if shape.architecture == "qwen3":
        for part in ("q", "k"):
            yield f"attn_{part}_norm.weight", (shape.head_length,), "exact"


def _latent_attention(shape: Shape) -> Iterator[Row]:
    plain = shape.key_length - shape.rope_length
    yield "attn_norm.weight", (shape.embedding,), "exact"
    yield "attn_q_a.weight", (shape.embedding, shape.q_rank), "other"
    yield "attn_q_a_norm.weight", (shape.q_rank,), "exact"
    yield "attn_q_b.weight", (shape.q_rank, shape.heads * shape.key_length), "other"
    yield "attn_kv_a_mqa.weight", (shape.embedding, shape.kv_rank + shape.rope_length), "other"
    yield "attn_kv_a_norm.weight", (shape.kv_rank,), "exact"
    # Files of that time: the quantiser did not yet treat this one as it treats V.
    yield "attn_kv_b.weight", (shape.kv_rank, shape.heads * (plain + shape.value_length)), "other"
    if shape.both_projections:
        yield "attn_k_b.weight", (plain, shape.kv_rank, shape.heads), "other"
        yield "attn_v_b.weight", (shape.kv_rank, shape.value_length, shape.heads), "other"
    yield "attn_output.weight", (shape.heads * shape.value_length, shape.embedding), "attention_output"


def _feed_forward(shape: Shape, *, dense: bool) -> Iterator[Row]:
    yield "ffn_norm.weight", (shape.embedding,), "exact"
    if not shape.expert_count or dense:
        yield from _network("", shape.embedding, shape.feed_forward, ())
        return
    yield "ffn_gate_inp.weight", (shape.embedding, shape.expert_count), "exact"
    yield "exp_probs_b.bias", (shape.expert_count,), "exact"
    yield from _network("_exps", shape.embedding, shape.expert_feed_forward, (shape.expert_count,))
    yield from _network("_shexp", shape.embedding, shape.expert_shared * shape.expert_feed_forward, ())


def _network(suffix: str, embedding: int, width: int, times: tuple[int, ...]) -> Iterator[Row]:
    yield f"ffn_gate{suffix}.weight", (embedding, width, *times), "gate"
    yield f"ffn_up{suffix}.weight", (embedding, width, *times), "up"
    yield f"ffn_down{suffix}.weight", (width, embedding, *times), "down"
