"""Blobs that have to go before a pull or a create, since a server takes what is there for whole."""

from __future__ import annotations

import json
from dataclasses import replace

from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.operations.model import _broken_blobs
from ollama_fleet.planner.state import HostState, ModelStore, StoredModel
from unit.planner.states import FRESH

NAME = ModelName.parse("reasoner")
ONE, TWO, CONFIG = ("sha256:" + digit * 64 for digit in "123")


def state(sizes: dict[str, int], manifest: bytes | None = None) -> HostState:
    def entry(digest: str, size: int) -> dict[str, object]:
        return {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": size}

    written = {"schemaVersion": 2, "config": entry(CONFIG, 5), "layers": [entry(ONE, 10), entry(TWO, 20)]}
    stored = StoredModel(NAME, manifest or json.dumps(written).encode())
    return replace(FRESH, store=ModelStore((stored,), sizes))


def test_only_those_of_another_size() -> None:
    assert _broken_blobs([NAME], state({ONE: 10, TWO: 19, CONFIG: 5})) == [TWO.replace(":", "-")]


def test_missing_ones_are_simply_fetched() -> None:
    assert _broken_blobs([NAME], state({ONE: 10})) == []


def test_manifest_that_cannot_be_read_names_none() -> None:
    assert _broken_blobs([NAME], state({ONE: 1}, b"{")) == []
    assert _broken_blobs([ModelName.parse("other")], state({ONE: 1})) == []
