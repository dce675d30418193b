"""The header of a GGUF file: key-values and tensor shapes. Weights are never read."""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_BLOCK = re.compile(r"blk\.(\d+)\.")

# general.file_type, as the API spells it; what is missing here is shown as "unknown".
FILE_TYPES = dict(enumerate(["F32", "F16", "Q4_0", "Q4_1", "MXFP4"]))
FILE_TYPES |= {7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L"}
FILE_TYPES |= {14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 21: "Q2_K_S", 32: "BF16"}

# ggml tensor types: name, elements in a block, bytes in a block.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    39: ("MXFP4", 32, 17),
}


class GGUFError(ValueError):
    """The file is not a GGUF file that can be read."""


class Float32(float):
    """A float that was 32 bits wide in the file, so that it can be printed in its own shortest form."""


class CutArray(list[Any]):
    """An array of the file; `total` is how many elements it has there."""

    total: int = 0


@dataclass(frozen=True)
class Tensor:
    """One tensor; `shape` in elements, fastest-running dimension first."""

    name: str
    shape: tuple[int, ...]
    kind: int

    @property
    def type_name(self) -> str:
        return TENSOR_TYPES.get(self.kind, ("unknown", 1, 4))[0]

    @property
    def elements(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def size(self) -> int:
        """Bytes of the tensor's data."""
        _, elements, size = TENSOR_TYPES.get(self.kind, ("unknown", 1, 4))
        return self.elements * size // elements

    @property
    def block(self) -> int | None:
        """The layer it belongs to, or None for embeddings and output."""
        found = _BLOCK.match(self.name)
        return int(found[1]) if found else None


@dataclass
class Header:
    """What a GGUF file says about itself."""

    kv: dict[str, Any]
    tensors: list[Tensor] = field(default_factory=list)

    def text(self, key: str, default: str = "") -> str:
        value = self.get(key)
        return value if isinstance(value, str) else default

    def get(self, key: str) -> Any:
        if not key.startswith(("general.", "tokenizer.")):
            key = f"{self.architecture}.{key}"
        return self.kv.get(key)

    def number(self, key: str, default: int = 0) -> int:
        """An integer, or the largest of an array of them."""
        value = self.get(key)
        if isinstance(value, list):
            return max((int(item) for item in value), default=default)
        return int(value) if isinstance(value, int | float) else default

    @cached_property
    def architecture(self) -> str:
        value = self.kv.get("general.architecture")
        return value if isinstance(value, str) else "unknown"

    @property
    def kind(self) -> str:
        return self.text("general.type", "unknown")

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def blocks(self) -> int:
        return self.number("block_count")

    @property
    def file_type(self) -> str:
        value = self.number("general.file_type")
        return FILE_TYPES.get(value, "unknown") if value else "unknown"

    @property
    def parameter_size(self) -> str:
        return human_number(self.parameters)


def is_gguf(path: Path) -> bool:
    """Whether the file begins like a GGUF file."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_header(path: Path) -> Header:
    """Read the header of the file at `path`. Raises GGUFError or OSError."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise GGUFError("invalid file magic")
        try:
            return _Reader(file).header()
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise GGUFError("unexpected EOF") from error


def human_number(count: int) -> str:
    """A parameter count as the API shows it: `7.6B`, `334.09M`, `120K`, `12`."""
    for size, letter, digits in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= size:
            return f"{count // size}{letter}" if count % size == 0 else f"{count / size:.{digits}f}{letter}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def header(self) -> Header:
        version = self.scalar("I")
        if version < 2:
            raise GGUFError(f"unsupported GGUF version {version}")
        tensors, pairs = self.scalar("Q"), self.scalar("Q")
        kv: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.string()
            kv[key] = self.value(self.scalar("I"))
        header = Header(kv, [self.tensor() for _ in range(tensors)])
        header.kv["general.parameter_count"] = header.parameters
        return header

    def tensor(self) -> Tensor:
        name = self.string()
        shape = tuple(self.scalar("Q") for _ in range(self.scalar("I")))
        kind = self.scalar("I")
        self.scalar("Q")  # where the data begin
        return Tensor(name, shape, kind)

    def scalar(self, letter: str) -> Any:
        size = struct.calcsize("<" + letter)
        value = struct.unpack("<" + letter, self.file.read(size))[0]
        return Float32(value) if letter == "f" else value

    def string(self) -> str:
        length = self.scalar("Q")
        raw = self.file.read(length)
        if len(raw) != length:
            raise GGUFError("unexpected EOF")
        return raw.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            array = CutArray(self.value(inner) for _ in range(count))
            array.total = count
            return array
        return self.scalar(_SCALARS[kind])


def layer_bytes(header: Header) -> tuple[Counter[int], int]:
    """Bytes of weights per block, and of everything that is in no block."""
    per_block: Counter[int] = Counter()
    other = 0
    for tensor in header.tensors:
        if tensor.block is None:
            other += tensor.size
        else:
            per_block[tensor.block] += tensor.size
    return per_block, other
