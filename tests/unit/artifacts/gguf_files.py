"""GGUF headers for tests: of real models' shapes by the `gguf` package, and byte by byte for hostile ones."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf

from ollama_fleet.artifacts.tensor_shapes import Shape, header_of_shape

Tensors = Iterable[tuple[str, tuple[int, ...], str]]
"""Name, shape with the length of a row first, type."""

TINY_LLAMA = Shape("llama", 2, 256, 4, 2, 512, 320, 2048, head_length=64)


def shape_tensors(shape: Shape, quantization: str) -> list[tuple[str, tuple[int, ...], str]]:
    header = header_of_shape(shape, quantization, "")
    return [(tensor.name, tensor.shape, tensor.kind.name) for tensor in header.tensors]


def shape_metadata(shape: Shape) -> dict[str, Any]:
    values = header_of_shape(shape, "F16", "").values
    return {key: value for key, value in values.items() if not key.startswith("general.")}


def write_model(
    path: Path,
    tensors: Tensors,
    metadata: Mapping[str, Any],
    *,
    architecture: str = "llama",
    file_type: int | None = None,
    vocabulary: Iterable[str] | None = None,
    big_endian: bool = False,
    split_tensors: int = 0,
) -> Path:
    """Write a GGUF with the writer that everybody uses: true headers, the tensors' bytes as holes.

    Returns the path (of the first part, where it is split).
    """
    endian = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, architecture, endianess=endian, split_max_tensors=split_tensors)
    if file_type is not None:
        writer.add_file_type(file_type)
    for key, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, list(value))
    if vocabulary is not None:
        tokens = list(vocabulary)
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0] * len(tokens))
        writer.add_token_types([1] * len(tokens))
        writer.add_token_merges([f"{token} {token}" for token in tokens])
        writer.add_chat_template("x" * 5000)
    for name, shape, kind in tensors:
        quantization = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[quantization]
        count = 1
        for length in shape:
            count *= length
        # The writer takes the shape in bytes for quantised tensors.
        stored = [*reversed(shape)]
        writer.add_tensor_info(name, stored, _dtype(kind), count // block * size, quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    parts = [Path(part.name) for part in writer.fout or []]
    sizes = [
        sum(writer.ggml_pad(info.nbytes, writer.data_alignment) for info in infos.values())
        for infos in writer.tensors
    ]
    writer.close()
    for part, size in zip(parts, sizes, strict=True):
        end = writer.ggml_pad(part.stat().st_size, 32) + size
        os.truncate(part, end)
    return parts[0]


def _dtype(kind: str) -> Any:
    import numpy as np

    return {"F32": np.float32, "F16": np.float16}.get(kind, np.int8)


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(order + "I", kind) + value


def number(key: str, value: int) -> bytes:
    return pair(key, 4, struct.pack("<I", value))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def header(
    pairs: Iterable[bytes] = (), tensors: Iterable[bytes] = (), *, version: int = 3, data: int = 0
) -> bytes:
    pairs, tensors = list(pairs), list(tensors)
    start = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs + tensors)
    return start + bytes(-len(start) % 32) + bytes(data)


ARCHITECTURE = pair("general.architecture", 8, text("llama"))
BLOCKS = number("llama.block_count", 1)
