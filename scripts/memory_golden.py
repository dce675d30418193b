"""Make tests/golden/dense_memory.csv: what llama.cpp's own tool says that the dense R1 shapes take.

    python scripts/memory_golden.py --fit-params PATH/llama-fit-params --rpc-server PATH/ggml-rpc-server

Needs no GPU and no weights: a server on the CPU plays the GPU, and a model is a GGUF header with the true tensor
infos, stretched to its size without taking space on the disk. Both programs are llama.cpp's, built for the CPU
with its RPC backend (`GGML_RPC`); the file at hand was made with the version that llama-cpp-python 0.3.36 carries.

The tool prepares scores for a whole batch where the server prepares one per sequence, so most rows are made with
a vocabulary of 256 tokens, which takes those scores out of the sum; the rows with the true one have them.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = Path(__file__).parent.parent / "tests" / "golden" / "dense_memory.csv"
SMALL_VOCABULARY = 256
HEAD = 128


@dataclass(frozen=True)
class Shape:
    """Dimensions of a dense model."""

    arch: str
    layers: int
    embd: int
    heads: int
    kv_heads: int
    ff: int
    vocabulary: int


SHAPES = {
    "1.5b": Shape("qwen2", 28, 1536, 12, 2, 8960, 151936),
    "7b": Shape("qwen2", 28, 3584, 28, 4, 18944, 152064),
    "8b-llama-distill": Shape("llama", 32, 4096, 32, 8, 14336, 128256),
    "8b": Shape("qwen3", 36, 4096, 32, 8, 12288, 151936),
    "14b": Shape("qwen2", 48, 5120, 40, 8, 13824, 152064),
    "32b": Shape("qwen2", 64, 5120, 40, 8, 27648, 152064),
    "70b": Shape("llama", 80, 8192, 64, 8, 28672, 128256),
}


@dataclass(frozen=True)
class Case:
    """One run of the tool."""

    size: str
    vocabulary: int
    num_ctx: int
    num_batch: int
    flash: int
    kv_k: str
    kv_v: str
    num_gpu: int
    num_parallel: int = 1
    gpus: int = 1


def cases() -> Iterator[Case]:
    """Every configuration, once."""
    for size, shape in SHAPES.items():
        every = shape.layers + 1
        for ctx in (512, 2048, 4096, 8192, 16384, 32768, 131072):
            for batch in (128, 512, 1024, 2048):
                for flash in (1, 0):
                    yield Case(size, SMALL_VOCABULARY, ctx, batch, flash, "f16", "f16", every)
        for ctx in (4096, 16384, 40960):
            for batch in (512, 2048):
                yield Case(size, shape.vocabulary, ctx, batch, 1, "f16", "f16", every)
                yield Case(size, shape.vocabulary, ctx, batch, 0, "f16", "f16", shape.layers // 2)
                for kv in ("q8_0", "q4_0", "q5_0"):
                    yield Case(size, SMALL_VOCABULARY, ctx, batch, 1, kv, kv, every)
                for layers in (0, 1, shape.layers // 4, shape.layers // 2, shape.layers):
                    for flash in (1, 0):
                        yield Case(size, SMALL_VOCABULARY, ctx, batch, flash, "f16", "f16", layers)
                yield Case(size, SMALL_VOCABULARY, ctx, batch, 1, "q8_0", "q8_0", shape.layers // 2)
        yield Case(size, SMALL_VOCABULARY, 8192, 512, 1, "f16", "f16", every, 4)
        for ctx in (300, 5000):
            yield Case(size, SMALL_VOCABULARY, ctx, 512, 1, "f16", "f16", every)
        for gpus, ctx, batch in ((2, 4096, 512), (3, 16384, 512), (2, 16384, 2048)):
            yield Case(size, SMALL_VOCABULARY, ctx, batch, 1, "f16", "f16", every, 1, gpus)
        yield Case(size, SMALL_VOCABULARY, 16384, 512, 1, "f16", "f16", shape.layers // 2, 1, 2)


def quantized(name: str, layer: int, shape: Shape) -> Type:
    """The type of a matrix in a Q4_K_M file."""
    more = layer < shape.layers // 8 or layer >= 7 * shape.layers // 8
    more = more or (layer - shape.layers // 8) % 3 == 2
    if name == "output" or (name in ("attn_v", "ffn_down") and more):
        return Type.Q6_K
    return Type.Q5_K if name == "attn_v" and shape.layers == 80 else Type.Q4_K


def write_header(path: Path, shape: Shape, vocabulary: int) -> int:
    """Write a header with every tensor of a Q4_K_M model; the tensors' bytes are a hole in the file."""
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_block_count(shape.layers)
    writer.add_context_length(131072)
    writer.add_embedding_length(shape.embd)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e6)
    if shape.arch == "llama":
        writer.add_rope_dimension_count(HEAD)
    writer.add_string("tokenizer.ggml.model", "none")
    writer.add_uint32(f"{shape.arch}.vocab_size", vocabulary)
    total = 0

    def tensor(name: str, *dims: int, layer: int = 0) -> None:
        nonlocal total
        kind = Type.F32 if len(dims) == 1 else quantized(name.split(".")[-2], layer, shape)
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        size = int(np.prod(dims)) // block * block_bytes
        total += -(-size // 32) * 32
        if kind is Type.F32:
            writer.add_tensor_info(name, dims, np.dtype(np.float32), size)
        else:
            row = dims[-1] // block * block_bytes
            writer.add_tensor_info(name, (*dims[:-1], row), np.dtype(np.uint8), size, raw_dtype=kind)

    keys = shape.kv_heads * HEAD
    tensor("token_embd.weight", vocabulary, shape.embd)
    tensor("output_norm.weight", shape.embd)
    tensor("output.weight", vocabulary, shape.embd)
    if shape.arch == "llama":
        tensor("rope_freqs.weight", HEAD // 2)
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            tensor(f"{at}{norm}.weight", shape.embd)
        for name, rows, columns in (
            ("attn_q", shape.heads * HEAD, shape.embd),
            ("attn_k", keys, shape.embd),
            ("attn_v", keys, shape.embd),
            ("attn_output", shape.embd, shape.heads * HEAD),
            ("ffn_gate", shape.ff, shape.embd),
            ("ffn_up", shape.ff, shape.embd),
            ("ffn_down", shape.embd, shape.ff),
        ):
            tensor(f"{at}{name}.weight", rows, columns, layer=layer)
        if shape.arch == "qwen2":
            for name, width in (("attn_q", shape.heads * HEAD), ("attn_k", keys), ("attn_v", keys)):
                tensor(f"{at}{name}.bias", width)
        if shape.arch == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                tensor(f"{at}{name}.weight", HEAD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + total)
    return total


def ask(tool: Path, model: Path, case: Case, ports: list[int]) -> list[str]:
    """Run the tool: weights, cache and compute in whole MiB, rounded down; of several GPUs joined by `;`."""
    servers = ",".join(f"127.0.0.1:{port}" for port in ports[: case.gpus])
    command = [
        *(tool, "-m", model, "--rpc", servers, "--fit-print", "on"),
        *("-c", case.num_ctx * case.num_parallel, "-np", case.num_parallel),
        *("-b", 4096, "-ub", case.num_batch, "-ngl", case.num_gpu, "--no-repack"),
        *("-fa", "on" if case.flash else "off", "-ctk", case.kv_k, "-ctv", case.kv_v),
    ]
    # A server now and then is still busy with the last caller; then the tool says nothing of it.
    for _ in range(8):
        # The program is the caller's own.
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603
        out = ran.stdout
        lines = [line.split() for line in out.splitlines() if re.fullmatch(r"(RPC\d|Host)( \d+){3} ?", line)]
        found = {line[0]: line[1:] for line in lines}
        gpus = [terms for name, terms in found.items() if name != "Host"]
        if "Host" in found and (len(gpus) == case.gpus or case.num_gpu == 0):
            gpus = gpus or [["0", "0", "0"]]
            return [*(";".join(terms) for terms in zip(*gpus, strict=True)), *found["Host"]]
        time.sleep(0.5)
    raise SystemExit(f"no answer for {case}")


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Write the file."""
    arguments = argparse.ArgumentParser(description="make tests/golden/dense_memory.csv")
    arguments.add_argument("--fit-params", type=Path, required=True)
    arguments.add_argument("--rpc-server", type=Path, required=True)
    arguments.add_argument("--out", type=Path, default=OUT)
    given = arguments.parse_args()
    ports = [free_port() for _ in range(3)]
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
            models: dict[tuple[str, int], Path] = {}
            rows = csv.writer(file, lineterminator="\n")
            terms = [
                f"{place}_{term}_mib" for place in ("gpu", "host") for term in ("weights", "kv", "compute")
            ]
            rows.writerow([*(field.name for field in fields(Case)), *terms])
            made = 0
            for case in dict.fromkeys(cases()):
                key = (case.size, case.vocabulary)
                if key not in models:
                    models[key] = Path(folder) / f"{case.size}-{case.vocabulary}.gguf"
                    write_header(models[key], SHAPES[case.size], case.vocabulary)
                rows.writerow([*astuple(case), *ask(given.fit_params, models[key], case, ports)])
                made += 1
            print(f"{made} configurations in {given.out}", file=sys.stderr)
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
