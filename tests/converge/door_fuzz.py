"""Requests that try to get round a door that compares methods and paths: as bytes, so that no library mends them."""

from __future__ import annotations

import random
from collections.abc import Iterator

CHANGING = (
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", f"/api/blobs/sha256:{'0' * 64}"),
)
METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "post",
    "PoSt",
    "POST\t",
    "DELETE",
    "X",
)
VERSIONS = ("HTTP/1.1",) * 6 + ("HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "")
USING = ("/api/chat", "/api/tags", "/v1/models", "/v1/models/m", "/")
HEADERS = (
    "X-HTTP-Method-Override: {method}",
    "X-Method-Override: {method}",
    "X-Original-URL: {path}",
    "X-Rewrite-URL: {path}",
    "X-Forwarded-Prefix: {path}",
    "X-Forwarded-Uri: {path}",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: Authorization, Host",
    "Connection: keep-alive, X",
    "Authorization: Basic YTpi",
    "Proxy-Authorization: Bearer x",
    " folded: {path}",
    "Expect: 100-continue",
    "Host: 127.0.0.1:11434",
    "X: a\rb",
    "X: a\0b",
)
FRAMING = (
    "Content-Length: 0\r\nContent-Length: {size}",
    "Content-Length: {size}\r\nContent-Length: 0",
    "Content-Length: 0, {size}",
    "Content-Length: +{size}",
    "Content-Length: 0x5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked\r\nContent-Length: {size}",
    "Content-Length: {size}\r\nTransfer-Encoding: chunked",
    "Content-Length: 5\r\nTransfer-Encoding : chunked",
    "Transfer-Encoding: xchunked\r\nContent-Length: 5",
    "Transfer-Encoding: chunked, identity\r\nContent-Length: 5",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\x0bchunked\r\nContent-Length: 5",
    "Transfer-Encoding: CHUNKED",
    "X: y\nTransfer-Encoding: chunked",
)


def targets(path: str) -> list[str]:
    """Other ways of writing a path, and paths that one reader may take for it and another not."""
    first, last = path.rsplit("/", 1)
    return [
        path,
        f"{path}/",
        f"/{path}",
        path.replace("/", "//"),
        f"/.{path}",
        f"/x/..{path}",
        f"/api/chat/..{path}",
        f"/api/chat/../../{path}",
        f"{first}/./{last}",
        f"{first}/chat/../{last}",
        f"{first}/chat/..%2f{last}",
        f"{first}/chat%2f..%2f{last}",
        f"/v1/models/../..{path}",
        f"/v1/models/..%2f..{path.replace('/', '%2f')}",
        f"/v1/models/%2e%2e/%2e%2e{path}",
        f"{first}%2f{last}",
        f"{first}/%{ord(last[0]):02x}{last[1:]}",
        f"{first}/%25{ord(last[0]):02x}{last[1:]}",
        f"{first}\\{last}",
        f"{first}/{last.upper()}",
        path.upper(),
        f"{path}?/api/chat",
        f"/api/chat?{path}",
        f"/api/chat#{path}",
        f"{path}#/api/chat",
        f"{path};/api/chat",
        f"{path}%00",
        f"/api/chat%00{path}",
        f"{path}%20",
        f"{path}%0d%0aX:y",
        f"{first}%ef%bc%8f{last}",
        f"{first}%c0%af{last}",
        f"http://127.0.0.1:11434{path}",
        f"https://x{path}",
        f"http://[::1]:11434{path}",
        f"http:{path}",
        f"//x{path}",
        f"//127.0.0.1:11434/api/chat/..{path}",
        f"{path} HTTP/1.1\r\nHost: x\r\nX: ",
        path.removeprefix("/"),
        "*",
        "",
    ]


def requests(seed: int, count: int, token: str | None) -> Iterator[bytes]:
    """Yield `count` requests; with a token, that of a client who may only use models.

    First come all ways of writing one path, read and asked, then whatever may be.
    """
    choose = random.Random(seed)
    method, path = choose.choice(CHANGING)
    systematic = [(used, target) for target in targets(path) for used in (method, "GET")][:count]
    for used, target in systematic:
        yield _lines(
            [f"{used} {target} HTTP/1.1", "Host: door", *_authorization(token), "Content-Length: 2"], b"{}"
        )
    for _ in range(count - len(systematic)):
        yield _any(choose, token)


def _any(choose: random.Random, token: str | None) -> bytes:
    method, path = choose.choice(CHANGING)
    smuggled = _lines(
        [f"{method} {path} HTTP/1.1", "Host: x", *_authorization(token), "Content-Length: 2"], b"{}"
    )
    head = []
    if choose.random() < 0.35:  # a harmless request with another one in its body
        head.append(f"POST {choose.choice(USING)} HTTP/1.1")
        body = choose.choice([b"0\r\n\r\n" + smuggled, smuggled, b"5\r\nhello\r\n0\r\n\r\n" + smuggled])
        framing = choose.choice(FRAMING)
    else:
        target = choose.choice(targets(path))
        used = choose.choice([method, method, choose.choice(METHODS)])
        head.append(f"{used} {target} {choose.choice(VERSIONS)}".rstrip())
        body, framing = (
            b"{}",
            choose.choice(["Content-Length: {size}", "Content-Length: {size}", *FRAMING]),
        )
    head += ["Host: door", *_authorization(token)]
    if choose.random() < 0.5:
        head.append(choose.choice(HEADERS).format(method=method, path=path))
    head.append(framing.format(size=len(body)))
    return _lines(head, body)


def _authorization(token: str | None) -> list[str]:
    return [] if token is None else [f"Authorization: Bearer {token}"]


def _lines(head: list[str], body: bytes) -> bytes:
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body
