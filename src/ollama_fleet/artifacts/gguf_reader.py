"""The header of a GGUF file: its metadata and the name, shape and type of every tensor.

Only the header is read, never a tensor, and of the header only what is wanted: vocabularies are walked over
without keeping them. Versions 2 and 3 in either byte order, as the GGUF specification describes them. The
input is not trusted: whatever it says, memory, time and the bytes fetched stay within the limits below.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ollama_fleet.artifacts.ggml_types import TYPES, TensorType
from ollama_fleet.artifacts.gguf_stream import SCALARS, GgufError, ReadRange, Stream
from ollama_fleet.spec.errors import show

__all__ = ["GgufError", "Header", "ReadRange", "Tensor", "Value", "read_header"]

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]

_MAX_PAIRS = 1 << 14
_MAX_TENSORS = 1 << 16
_MAX_KEY = 1 << 10
_MAX_NAME = 256
_MAX_TEXT = 1 << 10  # a longer text (a chat template) is walked over
_MAX_ARRAY = 1 << 10  # a longer array is a vocabulary, not a list with one item per layer
_MAX_KEPT = 1 << 16  # items of arrays kept, all together
_MAX_SIZE = (1 << 63) - 1
_MAX_ALIGNMENT = 1 << 20

_STRING, _ARRAY = 8, 9
_PAIR_BYTES = 13  # of the shortest metadata pair, and of the shortest tensor below
_TENSOR_BYTES = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file. `shape` is in elements, the length of a row first; `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: TensorType
    size: int

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], kind: TensorType) -> Tensor:
        """A tensor with its size computed.

        Raises:
            GgufError: when the type cannot store rows of this length, or the size makes no sense.
        """
        elements = 1
        for length in shape:
            elements *= length
        row = kind.row_bytes(shape[0])
        if row is None:
            raise GgufError(
                f"tensor {show(name)} has rows of {shape[0]} elements, which {kind.name} cannot store"
            )
        if elements * kind.size > _MAX_SIZE:
            raise GgufError(f"tensor {show(name)} has an impossible shape")
        return cls(name, shape, kind, row * (elements // shape[0]) if shape[0] else 0)

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(slots=True)
class Header:
    """A header. `values` leaves out long texts and long arrays; `lengths` has the length of every array.

    `data_start` is the byte where the tensors begin, `data_size` the bytes they take up to the end of the
    last one, `size` the bytes of the whole file.
    """

    version: int
    size: int
    values: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    data_start: int = 0
    data_size: int = 0

    def text(self, key: str) -> str | None:
        """A text; None where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """A whole number from 0 on; None where there is none."""
        value = self.values.get(key)
        if isinstance(value, tuple):
            return None
        return _whole(value)

    def numbers(self, key: str) -> tuple[int, ...] | None:
        """An array of whole numbers from 0 on (true is 1); None where there is none."""
        value = self.values.get(key)
        if not isinstance(value, tuple):
            return None
        found = [_whole(int(item) if isinstance(item, bool) else item) for item in value]
        return tuple(item for item in found if item is not None) if None not in found else None

    @property
    def missing(self) -> int:
        """How many bytes of the tensors the file does not have: more than 0 where it was cut off."""
        return max(0, self.data_start + self.data_size - self.size) if self.data_size else 0


def read_header(read: ReadRange, size: int) -> Header:
    """Read the header of a file of `size` bytes.

    Raises:
        GgufError: for anything that is not a whole, sensible header.
    """
    stream = Stream(read, size)
    magic = stream.take(4, "the file begins")
    if magic != b"GGUF":
        hint = ", the server sent a page" if magic[:1] in b"<{" and magic else ""
        raise GgufError(f"this is no GGUF file: it begins with {magic!r}{hint}")
    # The version tells the byte order: it is small, so its low half is empty when read the wrong way round.
    version = stream.number("I")
    if version and not version & 0xFFFF:
        stream.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in {2, 3}:
        raise GgufError(f"GGUF version {version} is not supported; 2 and 3 are")
    tensors, pairs = stream.number("Q"), stream.number("Q")
    if tensors > _MAX_TENSORS or tensors * _TENSOR_BYTES > size:
        raise GgufError(f"{tensors} tensors do not make sense in a file of {size} bytes")
    if pairs > _MAX_PAIRS or pairs * _PAIR_BYTES > size:
        raise GgufError(f"{pairs} metadata entries do not make sense in a file of {size} bytes")
    header = Header(version, size)
    _Metadata(stream, header).read(pairs)
    _read_tensors(stream, header, tensors)
    return header


def _read_tensors(stream: Stream, header: Header, count: int) -> None:
    names: set[str] = set()
    for index in range(count):
        name = stream.text(_MAX_NAME, f"the name of tensor {index}")
        if not name.isprintable() or name in names:
            wrong = "is there twice" if name in names else "has characters that no name has"
            raise GgufError(f"tensor {index}, {show(name)}, {wrong}")
        names.add(name)
        dimensions = stream.number("I")
        if not 1 <= dimensions <= 4:
            raise GgufError(f"tensor {show(name)} has {dimensions} dimensions; 1 to 4 are possible")
        shape = tuple(stream.number("Q") for _ in range(dimensions))
        number, offset = stream.number("I"), stream.number("Q")
        kind = TYPES.get(number)
        if kind is None:
            raise GgufError(f"tensor {show(name)} has type {number}, which this version does not know")
        tensor = Tensor.of(name, shape, kind)
        if offset + tensor.size > _MAX_SIZE:
            raise GgufError(f"tensor {show(name)} lies beyond any file's end")
        header.tensors.append(tensor)
        header.data_size = max(header.data_size, offset + tensor.size)
    if (alignment := header.number("general.alignment")) is None:
        alignment = 32
    if not 1 <= alignment <= _MAX_ALIGNMENT:
        raise GgufError(f"general.alignment is {alignment}, which makes no sense")
    header.data_start = -(-stream.position // alignment) * alignment


class _Metadata:
    """Reads the key-value pairs into a header."""

    def __init__(self, stream: Stream, header: Header) -> None:
        self.stream = stream
        self.header = header
        self.kept = 0

    def read(self, count: int) -> None:
        for index in range(count):
            key = self.stream.text(_MAX_KEY, f"metadata key {index}")
            if key in self.header.values or key in self.header.lengths:
                raise GgufError(f"metadata key {show(key)} is there twice")
            kind = self.stream.number("I")
            if kind == _STRING:
                self._text(key)
            elif kind == _ARRAY:
                self._array(key)
            elif kind in SCALARS:
                self.header.values[key] = self.stream.scalar(kind)
            else:
                raise GgufError(f"metadata key {show(key)} has a value of unknown type {kind}")

    def _text(self, key: str) -> None:
        length = self.stream.number("Q")
        if length > _MAX_TEXT:
            self.stream.skip(length, f"the value of {show(key)}")
        else:
            self.header.values[key] = self.stream.take(length).decode("utf-8", "replace")

    def _array(self, key: str) -> None:
        kind, count = self.stream.number("I"), self.stream.number("Q")
        what = f"the value of {show(key)}"
        self.header.lengths[key] = count
        if kind == _STRING:
            self.stream.skip_texts(count, what)
            return
        if kind not in SCALARS:
            raise GgufError(f"metadata key {show(key)} is an array of unknown type {kind}")
        size = struct.calcsize("=" + SCALARS[kind])
        self.kept += count
        if count > _MAX_ARRAY or self.kept > _MAX_KEPT:
            self.kept -= count
            self.stream.skip(count * size, what)
            return
        self.header.values[key] = tuple(self.stream.scalar(kind) for _ in range(count))


def _whole(value: object) -> int | None:
    if type(value) is int and 0 <= value <= _MAX_SIZE:
        return value
    if isinstance(value, float) and value.is_integer() and 0 <= value <= 2**53:
        return int(value)
    return None
