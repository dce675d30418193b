"""/api/delete and /api/copy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from contract.server import Server

pytestmark = pytest.mark.contract
Start = Callable[..., AbstractContextManager[Server]]


def test_delete_takes_what_nobody_else_needs(server: Server, tiny: str) -> None:
    server.create("child", **{"from": tiny}, system="be brief")
    child, parent = (server.digests(name) for name in ("child", tiny))
    before = server.stored_digests()
    answer = server.http.request("DELETE", "/api/delete", json={"model": "child"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert list(server.listed()) == ["tiny:latest"]
    assert before - server.stored_digests() == child - parent
    assert not server.manifest_path("child").parent.exists()


def test_deleting_the_last_model_leaves_no_folders(server: Server, tiny: str) -> None:
    mine = server.digests(tiny)
    server.http.request("DELETE", "/api/delete", json={"model": tiny})
    assert not mine & server.stored_digests()
    manifests = server.models / "manifests"
    assert not manifests.exists() or list(manifests.iterdir()) == []
    assert server.get("/api/tags") == {"models": []}


def test_deleting_what_is_not_there(server: Server) -> None:
    answer = server.http.request("DELETE", "/api/delete", json={"model": "nobody"})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'nobody' not found"})


def test_delete_does_not_unload_and_then_nothing_else_can(start: Start, weights: Path) -> None:
    with start() as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        assert server.post("/api/generate", model="tiny", keep_alive="10m").status_code == 200
        assert server.http.request("DELETE", "/api/delete", json={"model": "tiny"}).status_code == 200
        assert list(server.running()) == ["tiny:latest"]
        assert server.post("/api/generate", model="tiny", keep_alive=0).status_code == 404


def test_a_copy_is_the_same_manifest(server: Server, tiny: str) -> None:
    answer = server.post("/api/copy", source=tiny, destination="twin")
    assert (answer.status_code, answer.content) == (200, b"")
    listed = server.listed()
    assert listed["twin:latest"]["digest"] == listed["tiny:latest"]["digest"]
    assert server.manifest_path("twin").read_bytes() == server.manifest_path("tiny").read_bytes()


def test_copying_what_is_not_there(server: Server) -> None:
    answer = server.post("/api/copy", source="nobody", destination="twin")
    assert (answer.status_code, answer.json()) == (404, {"error": 'model "nobody" not found'})
    bad = server.post("/api/copy", source="nobody", destination="-")
    assert (bad.status_code, bad.json()) == (400, {"error": 'destination "-" is invalid'})
