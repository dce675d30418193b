"""Models of a few hundred kilobytes that a real engine loads: right in every shape, and nothing learned."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import gguf
import numpy as np

Quantization = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0"]

EMBEDDING, HEADS, HEADS_KV, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 512
_PIECES = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "for",
    "was",
    "on",
    "are",
    "with",
    "as",
    "be",
    "at",
    "this",
    "have",
    "from",
    "or",
    "an",
    "they",
    "by",
    "we",
    "you",
]
_LETTERS = list("etaoinshrdlucmfwypvbgkjqxz")
_FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}


def tiny_gguf(
    path: Path,
    *,
    arch: str = "llama",
    layers: int = 2,
    seed: int = 0,
    name: str = "tiny",
    quantization: Quantization = "F16",
    chat_template: str | None = None,
    embedding: bool = False,
) -> Path:
    """Write a GGUF model to `path` and return it; the same bytes for the same arguments.

    `arch` is llama or qwen2. The weights are noise from `seed`, so every seed is another digest. Without
    `chat_template` no template is stored, and a server has none to recognise. `embedding` makes vectors of texts and
    no answers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    if embedding:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_embedding_length(EMBEDDING)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(_FILE_TYPES[quantization])
    tokens = _vocabulary(writer)
    writer.add_vocab_size(tokens)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for tensor, data in _tensors(arch, layers, tokens, np.random.default_rng(seed)):
        kind = gguf.GGMLQuantizationType[quantization] if data.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(writer: gguf.GGUFWriter) -> int:
    """A sentencepiece-style vocabulary: three specials, every byte, some pieces; the number of tokens."""
    entries = [
        ("<unk>", gguf.TokenType.UNKNOWN),
        ("<s>", gguf.TokenType.CONTROL),
        ("</s>", gguf.TokenType.CONTROL),
    ]
    entries += [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    entries += [(piece, gguf.TokenType.NORMAL) for piece in ["▁", *("▁" + p for p in _PIECES), *_LETTERS]]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in entries])
    writer.add_token_scores([-float(number) for number in range(len(entries))])
    writer.add_token_types([kind for _, kind in entries])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    return len(entries)


def _tensors(
    arch: str, layers: int, tokens: int, random: np.random.Generator
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Name and data of every tensor, rows first."""

    def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return cast(
            "np.ndarray[Any, np.dtype[np.float32]]", random.normal(0.0, 0.02, shape).astype(np.float32)
        )

    ones = np.ones(EMBEDDING, dtype=np.float32)
    narrow = EMBEDDING // HEADS * HEADS_KV
    yield "token_embd.weight", noise(tokens, EMBEDDING)
    yield "output_norm.weight", ones
    yield "output.weight", noise(tokens, EMBEDDING)
    for layer in range(layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", ones
        for part, rows in (("q", EMBEDDING), ("k", narrow), ("v", narrow)):
            yield f"{block}.attn_{part}.weight", noise(rows, EMBEDDING)
            if arch == "qwen2":
                yield f"{block}.attn_{part}.bias", noise(rows)
        yield f"{block}.attn_output.weight", noise(EMBEDDING, EMBEDDING)
        yield f"{block}.ffn_norm.weight", ones
        yield f"{block}.ffn_gate.weight", noise(FEED_FORWARD, EMBEDDING)
        yield f"{block}.ffn_up.weight", noise(FEED_FORWARD, EMBEDDING)
        yield f"{block}.ffn_down.weight", noise(EMBEDDING, FEED_FORWARD)


def main() -> None:
    """Write one model: `python -m lab.tiny_gguf PATH [--arch A] [--layers N] [--seed N] ...`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--arch", default="llama")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--quantization", default="F16", choices=list(_FILE_TYPES))
    given = parser.parse_args()
    tiny_gguf(**vars(given))


if __name__ == "__main__":
    main()
