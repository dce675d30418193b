"""The same by HTTP/2, whose frames are made here byte by byte, as libraries refuse to send what is not right."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from converge.door_fuzz import CHANGING, METHODS, USING, targets

Fields = list[tuple[str, str]]

_HEADERS, _DATA, _SETTINGS = 1, 0, 4
_END_STREAM, _END_HEADERS = 1, 4
_SMUGGLED = " HTTP/1.1\r\nHost: x\r\n\r\n{method} {path} HTTP/1.1\r\nHost: x\r\nX: "


def frames(fields: Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    """A connection's first bytes with one request, its fields in the order given."""
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return b"".join(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS | (0 if body else _END_STREAM), 1, block),
            _frame(_DATA, _END_STREAM, 1, body) if body else b"",
        ]
    )


def plain(method: str, path: str, token: str | None) -> Fields:
    """The fields of an ordinary request."""
    fields = [(":method", method), (":scheme", "https"), (":authority", "door"), (":path", path)]
    return fields if token is None else [*fields, ("authorization", f"Bearer {token}")]


def requests(seed: int, count: int, token: str | None) -> Iterator[bytes]:
    """Yield `count` requests; with a token, that of a client who may only use models."""
    choose = random.Random(seed)
    for _ in range(count):
        method, path = choose.choice(CHANGING)
        used = choose.choice(USING)
        harmless, other = plain("POST", used, token), choose.choice(targets(path))
        inside = _SMUGGLED.format(method=method, path=path)
        yield frames(
            choose.choice(
                [
                    plain(method, other, token),
                    plain(method, other, token),
                    plain(choose.choice(METHODS), other, token),
                    [*harmless, (":path", path), (":method", method)],
                    [(":path", path), *harmless],
                    [*harmless, ("host", "127.0.0.1:11434"), ("x-original-url", path)],
                    plain("POST", used + inside, token),
                    plain(f"{method} {path} HTTP/1.1\r\nX: y\r\n\r\nPOST", used, token),
                    [*harmless, ("x", f"y\r\n\r\n{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")],
                    [*harmless, (f"x: y\r\n\r\n{method} {path} HTTP/1.1\r\nx", "y")],
                    [*harmless, ("transfer-encoding", choose.choice(["chunked", "identity", " chunked"]))],
                    [*harmless, ("content-length", choose.choice(["0", "1", "+2", "0, 2", "-1"]))],
                    [*harmless, ("connection", "upgrade"), ("upgrade", "h2c")],
                    [(":protocol", "websocket"), *plain("CONNECT", path, token)],
                    [(":method", method), (":scheme", f"http://x{path}?"), (":path", used), *harmless[4:]],
                    [*harmless[:2], (":authority", f"door{path}?"), *harmless[3:]],
                ]
            ),
            choose.choice(
                [b"", b"{}", f"0\r\n\r\n{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")]
            ),
        )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _text(text: str) -> bytes:
    """A string without compression (RFC 7541, 5.1 and 5.2)."""
    raw = text.encode("latin-1", "replace")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    left, length = len(raw) - 127, bytearray([127])
    while left >= 128:
        length.append(left % 128 | 128)
        left //= 128
    return bytes([*length, left]) + raw
