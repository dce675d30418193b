"""Reading a header forwards through something that gives ranges of bytes, with little memory and few requests."""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = ["SCALARS", "GgufError", "ReadRange", "Stream"]

ReadRange = Callable[[int, int], bytes]
"""Gives `length` bytes from `start` on, fewer where the file ends; raises what its own source raises."""

# The largest headers in use (vocabularies of 262,144 tokens with merges) have 17 MB.
_MAX_FETCHED = 64 << 20
_FIRST_CHUNK = 2 << 20
_CHUNK = 1 << 20

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
"""Types of metadata values of a fixed size, as `struct` spells them."""
_BOOL = 7


class GgufError(ValueError):
    """Bytes that are no usable GGUF; one line that says where and what."""


class Stream:
    """Reads forwards, a chunk at a time; what is skipped beyond the chunk is not fetched."""

    def __init__(self, read: ReadRange, size: int) -> None:
        self.order = "<"
        self.position = 0
        self.size = size
        self._read = read
        self._buffer = b""
        self._start = 0  # where the buffer begins
        self._fetched = 0

    def take(self, length: int, what: str = "the header") -> bytes:
        """The next `length` bytes. `what` is named where the file ends before."""
        self.need(length, what)
        offset = self.position - self._start
        self.position += length
        return self._buffer[offset : offset + length]

    def number(self, code: str) -> int:
        """The next whole number, of a size as `struct` spells it."""
        value = struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]
        return int(value)

    def scalar(self, kind: int) -> int | float | bool:
        """The next metadata value of one of the types in `SCALARS`."""
        code = SCALARS[kind]
        value: int | float = struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]
        return bool(value) if kind == _BOOL else value

    def text(self, longest: int, what: str) -> str:
        """The next text, of at most `longest` bytes."""
        length = self.number("Q")
        if length > longest:
            raise GgufError(f"{what} has {length} bytes; at most {longest} make sense")
        return self.take(length, what).decode("utf-8", "replace")

    def skip(self, length: int, what: str) -> None:
        """Go on without reading."""
        if length > self.size - self.position:
            raise self._cut(what)
        self.position += length

    def skip_texts(self, count: int, what: str) -> None:
        """Walk over `count` texts, the bulk of any header: kept tight, since there are half a million."""
        if count * 8 > self.size - self.position:
            raise self._cut(what)
        code = "little" if self.order == "<" else "big"
        while count:
            self.need(8, what)
            buffer, at, end = self._buffer, self.position - self._start, len(self._buffer) - 8
            while count and at <= end:
                at += 8 + int.from_bytes(buffer[at : at + 8], code)  # type: ignore[arg-type]
                count -= 1
            self.position = self._start + at
            if self.position > self.size:
                raise self._cut(what)

    def need(self, length: int, what: str) -> None:
        """Have `length` bytes from the position on in the buffer."""
        offset = self.position - self._start
        have = len(self._buffer) - offset
        if have >= length:
            return
        if length > self.size - self.position:
            raise self._cut(what)
        kept = self._buffer[offset:] if have > 0 else b""
        at = self.position + len(kept)
        wanted = max(length - len(kept), _CHUNK if self._fetched else _FIRST_CHUNK)
        wanted = min(wanted, self.size - at)
        self._fetched += wanted
        if self._fetched > _MAX_FETCHED:
            raise GgufError(f"its header is longer than {_MAX_FETCHED >> 20} MiB, which makes no sense")
        got = self._read(at, wanted)
        if len(got) < length - len(kept):
            raise self._cut(what)
        self._buffer, self._start = kept + got[:wanted], self.position

    def _cut(self, what: str) -> GgufError:
        return GgufError(f"it is cut off: {what} does not fit into its {self.size} bytes")
