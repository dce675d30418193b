"""Headers of models that are not plain: mixtures, windows, latent and recurrent attention.

    python scripts/memory_shapes.py --fit-params PATH/llama-fit-params --rpc-server PATH/ggml-rpc-server

makes tests/golden/other_memory.csv in the manner of memory_golden.py, with Q8_0 weights and 256 tokens of
vocabulary. Dimensions are those of real models. The test writes the same headers and reads them back.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from memory_golden import Case, ask, free_port

OUT = Path(__file__).parent.parent / "tests" / "golden" / "other_memory.csv"
VOCABULARY = 256
HYBRIDS = ("qwen35", "qwen35moe")

# Keys are GGUF's, without the architecture; `_` ones are ours.
MODELS: dict[str, dict[str, Any]] = {
    "qwen3-30b-a3b": {
        "_arch": "qwen3moe",
        "block_count": 48,
        "embedding_length": 2048,
        "feed_forward_length": 6144,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 768,
    },
    "gpt-oss-20b": {
        "_arch": "gpt-oss",
        "block_count": 24,
        "embedding_length": 2880,
        "feed_forward_length": 2880,
        "attention.head_count": 64,
        "attention.head_count_kv": 8,
        "attention.key_length": 64,
        "attention.value_length": 64,
        "attention.sliding_window": 128,
        "expert_count": 32,
        "expert_used_count": 4,
        "expert_feed_forward_length": 2880,
    },
    "gemma-3-27b": {
        "_arch": "gemma3",
        "block_count": 62,
        "embedding_length": 5376,
        "feed_forward_length": 21504,
        "attention.head_count": 32,
        "attention.head_count_kv": 16,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "attention.sliding_window": 1024,
    },
    "deepseek-r1-671b": {
        "_arch": "deepseek2",
        "block_count": 61,
        "embedding_length": 7168,
        "feed_forward_length": 18432,
        "attention.head_count": 128,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.q_lora_rank": 1536,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "leading_dense_block_count": 3,
        "expert_count": 256,
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "expert_feed_forward_length": 2048,
        "expert_gating_func": 2,
    },
    "qwen3.5-27b": {
        "_arch": "qwen35",
        "block_count": 64,
        "embedding_length": 5120,
        "feed_forward_length": 17408,
        "attention.head_count": 24,
        "attention.head_count_kv": 4,
        "attention.key_length": 256,
        "attention.value_length": 256,
        "rope.dimension_count": 64,
        "rope.dimension_sections": [11, 11, 10, 0],
        "full_attention_interval": 4,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 6144,
        "ssm.state_size": 128,
        "ssm.time_step_rank": 48,
        "ssm.group_count": 16,
    },
}
MODELS["qwen3.5-35b-a3b"] = MODELS["qwen3.5-27b"] | {
    "_arch": "qwen35moe",
    "block_count": 40,
    "embedding_length": 2048,
    "feed_forward_length": 4096,
    "attention.head_count": 16,
    "attention.head_count_kv": 2,
    "ssm.inner_size": 4096,
    "ssm.time_step_rank": 32,
    "expert_count": 256,
    "expert_used_count": 8,
    "expert_feed_forward_length": 512,
    "expert_shared_feed_forward_length": 512,
}

Tensor = tuple[str, tuple[int, ...]]


def layer(model: dict[str, Any], number: int) -> Iterator[Tensor]:
    """The tensors of one layer: name without its prefix, and dimensions, rows first."""
    arch, embd, ff = model["_arch"], model["embedding_length"], model["feed_forward_length"]
    yield "attn_norm.weight", (embd,)
    if arch == "deepseek2":
        yield from latent(model)
    elif arch in HYBRIDS and (number + 1) % model["full_attention_interval"]:
        yield from recurrent(model)
    else:
        yield from attention(model)
    if arch == "gemma3":
        yield from (
            (f"{name}.weight", (embd,)) for name in ("post_attention_norm", "ffn_norm", "post_ffw_norm")
        )
    else:
        yield (
            "ffn_norm.weight" if arch in ("qwen3moe", "deepseek2") else "post_attention_norm.weight",
            (embd,),
        )
    if "expert_count" in model and number >= model.get("leading_dense_block_count", 0):
        yield from experts(model)
        return
    yield from (
        ("ffn_gate.weight", (ff, embd)),
        ("ffn_up.weight", (ff, embd)),
        ("ffn_down.weight", (embd, ff)),
    )


def attention(model: dict[str, Any]) -> Iterator[Tensor]:
    """Queries, keys, values and output; hybrids have a gate beside the queries."""
    arch, embd, head = model["_arch"], model["embedding_length"], model["attention.key_length"]
    queries, keys = model["attention.head_count"] * head, model["attention.head_count_kv"] * head
    gate = 2 if arch in HYBRIDS else 1
    for name, dims in (
        ("attn_q", (queries * gate, embd)),
        ("attn_k", (keys, embd)),
        ("attn_v", (keys, embd)),
        ("attn_output", (embd, queries)),
    ):
        yield f"{name}.weight", dims
        if arch == "gpt-oss":
            yield f"{name}.bias", dims[:1]
    if arch == "gpt-oss":
        yield "attn_sinks.weight", (model["attention.head_count"],)
    else:
        yield "attn_q_norm.weight", (head,)
        yield "attn_k_norm.weight", (head,)


def latent(model: dict[str, Any]) -> Iterator[Tensor]:
    """Latent attention with split up-projections."""
    embd, heads, rope = (
        model["embedding_length"],
        model["attention.head_count"],
        model["rope.dimension_count"],
    )
    q_rank, kv_rank = model["attention.q_lora_rank"], model["attention.kv_lora_rank"]
    key, value = model["attention.key_length_mla"], model["attention.value_length_mla"]
    yield "attn_q_a_norm.weight", (q_rank,)
    yield "attn_kv_a_norm.weight", (kv_rank,)
    yield "attn_q_a.weight", (q_rank, embd)
    yield "attn_q_b.weight", (heads * key, q_rank)
    yield "attn_kv_a_mqa.weight", (kv_rank + rope, embd)
    yield "attn_k_b.weight", (heads, kv_rank, key - rope)
    yield "attn_v_b.weight", (heads, value, kv_rank)
    yield "attn_output.weight", (embd, heads * value)


def recurrent(model: dict[str, Any]) -> Iterator[Tensor]:
    """A layer of linear attention."""
    embd, inner, steps = model["embedding_length"], model["ssm.inner_size"], model["ssm.time_step_rank"]
    mixed = inner + 2 * model["ssm.state_size"] * model["ssm.group_count"]
    yield "attn_qkv.weight", (mixed, embd)
    yield "attn_gate.weight", (inner, embd)
    yield "ssm_conv1d.weight", (mixed, model["ssm.conv_kernel"])
    yield "ssm_dt.bias", (steps,)
    yield "ssm_a", (steps,)
    yield "ssm_beta.weight", (steps, embd)
    yield "ssm_alpha.weight", (steps, embd)
    yield "ssm_norm.weight", (inner // steps,)
    yield "ssm_out.weight", (embd, inner)


def experts(model: dict[str, Any]) -> Iterator[Tensor]:
    """Routed experts, and those that are always used."""
    count, embd, ff = model["expert_count"], model["embedding_length"], model["expert_feed_forward_length"]
    yield "ffn_gate_inp.weight", (count, embd)
    for name, dims in (("gate", (ff, embd)), ("up", (ff, embd)), ("down", (embd, ff))):
        yield f"ffn_{name}_exps.weight", (count, *dims)
        if model["_arch"] == "gpt-oss":
            yield f"ffn_{name}_exps.bias", (count, dims[0])
        if "expert_shared_count" in model or model["_arch"] in HYBRIDS:
            yield f"ffn_{name}_shexp.weight", dims
    if model["_arch"] in HYBRIDS:
        yield "ffn_gate_inp_shexp.weight", (embd,)
    if model["_arch"] == "gpt-oss":
        yield "ffn_gate_inp.bias", (count,)
    if model["_arch"] == "deepseek2":
        yield "exp_probs_b.bias", (count,)


def write_shape(path: Path, name: str) -> None:
    """Write the header of a model; the tensors' bytes are a hole in the file."""
    model = MODELS[name]
    arch, embd = model["_arch"], model["embedding_length"]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(131072)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e6)
    writer.add_string("tokenizer.ggml.model", "none")
    writer.add_uint32(f"{arch}.vocab_size", VOCABULARY)
    for key, value in model.items():
        if isinstance(value, list):
            writer.add_array(f"{arch}.{key}", value)
        elif not key.startswith("_"):
            writer.add_uint32(f"{arch}.{key}", value)
    tensors = [("token_embd.weight", (VOCABULARY, embd)), ("output_norm.weight", (embd,))]
    if arch != "gemma3":
        tensors.append(("output.weight", (VOCABULARY, embd)))
    for number in range(model["block_count"]):
        tensors += [(f"blk.{number}.{part}", dims) for part, dims in layer(model, number)]
    total = 0
    for tensor, dims in tensors:
        plain = len(dims) == 1 or tensor.endswith(("bias", "gate_inp.weight", "conv1d.weight"))
        block, block_bytes = (1, 4) if plain else gguf.GGML_QUANT_SIZES[Type.Q8_0]
        size = int(np.prod(dims)) // block * block_bytes
        total += -(-size // 32) * 32
        if plain:
            writer.add_tensor_info(tensor, dims, np.dtype(np.float32), size)
        else:
            row = (*dims[:-1], dims[-1] // block * block_bytes)
            writer.add_tensor_info(tensor, row, np.dtype(np.uint8), size, raw_dtype=Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + total)


def cases() -> Iterator[Case]:
    """Every configuration."""
    for name, model in MODELS.items():
        layers = model["block_count"]
        for ctx in (4096, 32768):
            for batch in (512, 2048):
                for flash in (1, 0):
                    yield Case(name, VOCABULARY, ctx, batch, flash, "f16", "f16", layers + 1)
        yield Case(name, VOCABULARY, 32768, 512, 1, "q8_0", "q8_0", layers + 1)
        yield Case(name, VOCABULARY, 32768, 512, 1, "f16", "f16", layers // 2)
        yield Case(name, VOCABULARY, 4096, 512, 1, "f16", "f16", layers + 1, 1, 2)


def main() -> None:
    """Write the file."""
    arguments = argparse.ArgumentParser(description="make tests/golden/other_memory.csv")
    arguments.add_argument("--fit-params", type=Path, required=True)
    arguments.add_argument("--rpc-server", type=Path, required=True)
    arguments.add_argument("--out", type=Path, default=OUT)
    given = arguments.parse_args()
    ports = [free_port() for _ in range(2)]
    # The program is the caller's own.
    servers = [
        subprocess.Popen(  # noqa: S603
            [given.rpc_server, "-H", "127.0.0.1", "-p", str(port), "-d", "CPU"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port in ports
    ]
    try:
        time.sleep(1)
        with tempfile.TemporaryDirectory() as folder, given.out.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            terms = [
                f"{place}_{term}_mib" for place in ("gpu", "host") for term in ("weights", "kv", "compute")
            ]
            rows.writerow([*(field.name for field in fields(Case)), *terms])
            for name in MODELS:
                write_shape(Path(folder) / name, name)
            for case in cases():
                rows.writerow([*astuple(case), *ask(given.fit_params, Path(folder) / case.size, case, ports)])
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
