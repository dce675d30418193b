"""Ways that somebody may try to get round a front door; each raises AssertionError where it leads anywhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

from converge import door_fuzz, door_fuzz_h2
from converge.door_table import ALICE, OPS, WRONG
from converge.front_door import FrontDoor


def fuzz(door: FrontDoor, seed: int, count: int) -> None:
    """Nothing that changes models reaches the server, and nothing at all without a token."""
    for token, share in ((None, count // 5), (WRONG, count // 5), (ALICE, count - 2 * (count // 5))):
        with door.recording(), ThreadPoolExecutor(48) as pool:
            list(pool.map(door.answer, door_fuzz.requests(seed, share - share // 4, token)))
            list(pool.map(door.answer_h2, door_fuzz_h2.requests(seed, share // 4, token)))
            # What is right passes, by both.
            door.answer_h2(door_fuzz_h2.frames(door_fuzz_h2.plain("POST", "/api/embed", token), b"{}"))
            status = door.status("POST", "/api/chat", token, b"{}")
            reached = door.recorded()
        last = [entry[:2] for entry in reached[-2:]]
        if token == ALICE:
            assert (status, last) == (200, [["POST", "/api/embed"], ["POST", "/api/chat"]])
        else:
            assert (status, last) == (401, [])
        assert [entry for entry in reached if not harmless(*entry[:2])] == []
        assert {entry[2] for entry in reached} <= {None}


def harmless(method: str | None, path: str | None) -> bool:
    """What a client may do, told apart without our own code."""
    plain = unquote((path or "").split("?")[0])
    if method in ("GET", "HEAD"):
        return plain in ("/", "/api/version", "/api/tags", "/api/ps", "/v1/models", "/v1/models/m")
    return method == "POST" and plain in ("/api/chat", "/api/generate", "/api/show", "/api/embed")


def look_alikes(door: FrontDoor) -> None:
    """Nothing that looks like a token lets in, and no second one beside it."""
    right = f"Bearer {ALICE}"
    with door.recording():
        for lines in (
            [f"Authorization: {ALICE}"],
            [f"Authorization: Basic {ALICE}"],
            [f"Authorization: Bearer{ALICE}"],
            [f"Authorization: {right[:-1]}"],
            [f"Authorization: {right}x"],
            [f"Authorization: Bearer {OPS.upper()}"],
            [f"Authorization: {right}, {right}"],
            [f"Authorization: {right} {OPS}"],
            [f"Authorization: {right}", f"Authorization: Bearer {OPS}"],
            [f"Authorization: Bearer {WRONG}", f"Authorization: Bearer {OPS}"],
            ["Authorization: Bearer "],
            ["Authorization: none"],
            ["Authorization: Bearer .*"],
            [f"X-Authorization: {right}"],
            [f"Proxy-Authorization: {right}"],
            [f"Cookie: Authorization={right}"],
        ):
            status = _status(door, "POST /api/pull", lines)
            assert status in (400, 401), lines
        assert door.recorded() == []


def upgrades(door: FrontDoor) -> None:
    """Behind an upgraded connection nobody would see what is asked."""
    with door.recording():
        for lines in (
            ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
            ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
            ["Upgrade: h2c"],
        ):
            assert _status(door, "POST /api/chat", [f"Authorization: Bearer {ALICE}", *lines]) == 403, lines
        assert door.recorded() == []


def _status(door: FrontDoor, request: str, lines: list[str]) -> int:
    head = [f"{request} HTTP/1.1", "Host: door", "Content-Length: 2", *lines, "", ""]
    return int(door.answer("\r\n".join(head).encode() + b"{}", patience=30).split(b" ")[1])
