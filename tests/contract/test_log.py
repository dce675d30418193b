"""What a server writes about its start and its loads, read by the parser that `verify` uses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from contract.server import Server
from contract.stored import digest_of
from lab.tiny_gguf import tiny_gguf
from ollama_fleet.checks.engine_log import HOST, EngineLoad, last_load, parse_start
from ollama_fleet.checks.server_config import not_understood

pytestmark = pytest.mark.contract
Start = Callable[..., AbstractContextManager[Server]]


def blob_of(server: Server, model: str) -> str:
    """The hex digest of a model's weights on disk."""
    (digest,) = (
        layer["digest"]
        for layer in server.manifest(model)["layers"]
        if layer["mediaType"] == "application/vnd.ollama.image.model"
    )
    return str(digest).removeprefix("sha256:")


def load_of(server: Server, model: str) -> EngineLoad:
    load = last_load(server.log.splitlines(), blob_of(server, model))
    assert load is not None, server.log
    return load


def test_a_start_shows_the_environment_and_the_devices(start: Start) -> None:
    given = {"OLLAMA_KEEP_ALIVE": "24h", "OLLAMA_NUM_PARALLEL": "2", "OLLAMA_FLASH_ATTENTION": "1"}
    with start(**given) as server:
        server.get("/api/version")
        told = parse_start(server.log.splitlines())
        assert told.config is not None
        shown = {name: value for name, value in server.env.items() if name.startswith("OLLAMA_")}
        assert given.items() <= shown.items()
        assert not_understood(told.config, shown) == []
        assert told.config["OLLAMA_MODELS"] == str(server.models)


def test_a_value_that_is_not_understood_shows(start: Start) -> None:
    with start(OLLAMA_NUM_PARALLEL="four") as server:
        told = parse_start(server.log.splitlines())
        (text,) = not_understood(told.config or {}, {"OLLAMA_NUM_PARALLEL": "four"})
        assert text.startswith("OLLAMA_NUM_PARALLEL is not in effect: set to 'four', the server took it for ")


def test_a_host_without_a_gpu_says_cpu(start: Start) -> None:
    with start() as server:
        server.get("/api/version")
        assert [device.library for device in parse_start(server.log.splitlines()).devices] == ["cpu"]


def test_a_load_is_found_with_its_buffers(server: Server, tiny: str, weights: Path) -> None:
    server.post("/api/generate", model=tiny, options={"num_ctx": 256})
    load = load_of(server, tiny)
    if not server.flavour.llama_server:
        assert load.blob == digest_of(weights.read_bytes()).removeprefix("sha256:")
    assert load.started
    assert load.offloaded in (None, 0), "there is no GPU here"
    assert list(load.places) == [HOST]
    assert load.exact
    assert load.places[HOST].weights == pytest.approx(weights.stat().st_size, rel=0.3)
    assert load.places[HOST].kv > 0
    assert load.places[HOST].compute > 0


def test_the_cache_grows_with_the_context(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, options={"num_ctx": 256})
    short = load_of(server, tiny).places[HOST].kv
    server.post("/api/generate", model=tiny, options={"num_ctx": 512})
    assert load_of(server, tiny).places[HOST].kv == pytest.approx(2 * short, rel=0.05)


def test_each_load_is_of_its_own_file(server: Server, tiny: str, tmp_path: Path) -> None:
    other = tiny_gguf(tmp_path / "other.gguf", layers=4, seed=7)
    server.create("other", files={"other.gguf": server.upload(other)})
    server.post("/api/generate", model=tiny, options={"num_ctx": 256})
    server.post("/api/generate", model="other", options={"num_ctx": 256})
    half = load_of(server, tiny).places[HOST].kv
    assert load_of(server, "other").places[HOST].kv == pytest.approx(2 * half, rel=0.05)


@pytest.mark.to_0_24
def test_a_quantised_cache_needs_flash_attention_to_0_24(start: Start, weights: Path) -> None:
    with start(OLLAMA_KV_CACHE_TYPE="q8_0") as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        server.post("/api/generate", model="tiny")
        (warning,) = (text for text in load_of(server, "tiny").warnings if "KV" in text or "kv" in text)
        assert warning == "OLLAMA_FLASH_ATTENTION must be enabled to use a quantized OLLAMA_KV_CACHE_TYPE"


def test_an_embedding_model_answers_in_its_own_way(server: Server, tmp_path: Path) -> None:
    vectors = tiny_gguf(tmp_path / "vectors.gguf", embedding=True)
    server.create("vectors", files={"vectors.gguf": server.upload(vectors)})
    refused = server.post("/api/generate", model="vectors", prompt="x")
    assert refused.status_code == 400
    assert refused.json() == {"error": '"vectors" does not support generate'}
    answer = server.post("/api/embed", model="vectors", input="hello").json()
    (vector,) = answer["embeddings"]
    assert len(vector) == 64
    unloaded = server.post("/api/generate", model="vectors", keep_alive=0, stream=False)
    assert unloaded.status_code == 200
    server.wait_unloaded()
