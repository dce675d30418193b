"""Loading, keeping, sharing and unloading models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contract.server import Server

pytestmark = pytest.mark.contract
Start = Callable[..., AbstractContextManager[Server]]


def seconds_left(model: dict[str, Any]) -> float:
    """How long a model of /api/ps will stay."""
    head, _, fraction = model["expires_at"].partition(".")
    zone = fraction.lstrip("0123456789") if fraction else ""
    moment = datetime.fromisoformat((head + zone).replace("Z", "+00:00"))
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def test_an_empty_prompt_loads(server: Server, tiny: str) -> None:
    answer = server.post("/api/generate", model=tiny, keep_alive="10m", options={"num_ctx": 256})
    body = answer.json()
    assert answer.status_code == 200
    assert sorted(body) == ["created_at", "done", "done_reason", "model", "response"]
    assert (body["model"], body["response"], body["done"], body["done_reason"]) == ("tiny", "", True, "load")
    (model,) = server.get("/api/ps")["models"]
    assert (model["name"], model["model"]) == ("tiny:latest", "tiny:latest")
    assert model["digest"] == server.listed()["tiny:latest"]["digest"]
    assert model["context_length"] == 256
    assert model["size"] > 0
    assert model["size_vram"] == 0, "there is no GPU here"
    assert 590 < seconds_left(model) <= 600
    assert list(model)[:4] == ["name", "model", "size", "digest"]


def test_keep_alive_zero_unloads_later_but_answers_at_once(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny)
    answer = server.post("/api/generate", model=tiny, keep_alive=0)
    assert (answer.status_code, answer.json()["done_reason"]) == (200, "unload")
    server.wait_unloaded()


def test_unloading_what_is_not_loaded_is_no_error(server: Server, tiny: str) -> None:
    assert server.post("/api/generate", model=tiny, keep_alive=0).json()["done_reason"] == "unload"


def test_chat_loads_and_unloads_too(server: Server, tiny: str) -> None:
    loaded = server.post("/api/chat", model=tiny, messages=[]).json()
    assert loaded["message"] == {"role": "assistant", "content": ""}
    assert loaded["done_reason"] == "load"
    assert server.post("/api/chat", model=tiny, messages=[], keep_alive=0).json()["done_reason"] == "unload"
    server.wait_unloaded()


@pytest.mark.parametrize(
    ("keep_alive", "least", "most"), [("1h30m", 5390, 5400), (90, 85, 90), (0.5e3, 495, 500)]
)
def test_keep_alive_is_a_duration_or_seconds(
    server: Server, tiny: str, keep_alive: object, least: float, most: float
) -> None:
    server.post("/api/generate", model=tiny, keep_alive=keep_alive)
    assert least < seconds_left(server.running()["tiny:latest"]) <= most


@pytest.mark.parametrize("keep_alive", [-1, "-1s", "-5m"])
def test_a_negative_keep_alive_is_for_ever(server: Server, tiny: str, keep_alive: object) -> None:
    server.post("/api/generate", model=tiny, keep_alive=keep_alive)
    assert server.running()["tiny:latest"]["expires_at"] > "2200"


@pytest.mark.parametrize("keep_alive", ["forever", "10", "", True, [], {}])
def test_a_keep_alive_that_is_no_duration_is_400(server: Server, tiny: str, keep_alive: object) -> None:
    answer = server.post("/api/generate", model=tiny, keep_alive=keep_alive)
    assert answer.status_code == 400
    assert server.running() == {}


def test_the_default_keep_alive_is_the_servers(start: Start, weights: Path) -> None:
    with start(OLLAMA_KEEP_ALIVE="2h") as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        server.post("/api/generate", model="tiny")
        assert 7190 < seconds_left(server.running()["tiny:latest"]) <= 7200


def test_a_model_goes_when_its_time_is_over(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, keep_alive="300ms")
    server.wait_unloaded()


def test_the_context_is_the_models_own_or_the_servers(start: Start, weights: Path) -> None:
    with start(OLLAMA_CONTEXT_LENGTH="128") as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        server.create("wide", **{"from": "tiny"}, parameters={"num_ctx": 200})
        server.post("/api/generate", model="tiny")
        assert server.running()["tiny:latest"]["context_length"] == 128
        server.post("/api/generate", model="wide")
        assert [m["context_length"] for m in server.running().values()] == [200]


def test_more_context_than_the_model_was_trained_for_is_cut(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, options={"num_ctx": 100_000})
    assert server.running()["tiny:latest"]["context_length"] == 512


def test_models_of_one_file_share_one_place(server: Server, tiny: str) -> None:
    """The first model's name stays in /api/ps as long as the second needs the same options."""
    server.create("twin", **{"from": tiny}, system="another text")
    server.post("/api/generate", model=tiny)
    server.post("/api/generate", model="twin")
    assert list(server.running()) == ["tiny:latest"]
    server.create("other", **{"from": tiny}, parameters={"num_ctx": 64})
    server.post("/api/generate", model="other")
    assert list(server.running()) == ["other:latest"], "other options load anew"


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/show"])
def test_an_unknown_model_is_404(server: Server, path: str) -> None:
    answer = server.post(path, model="nobody")
    shown = "nobody:latest" if path == "/api/show" and server.flavour.llama_server else "nobody"
    assert (answer.status_code, answer.json()) == (404, {"error": f"model '{shown}' not found"})


def test_embedding_has_its_own_words_for_an_unknown_model(server: Server) -> None:
    answer = server.post("/api/embed", model="nobody", input="x")
    words = 'model "nobody" not found, try pulling it first'
    assert (answer.status_code, answer.json()) == (404, {"error": words})


def test_the_fields_of_a_running_model(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny)
    (model,) = server.get("/api/ps")["models"]
    assert list(model) == [
        "name",
        "model",
        "size",
        "digest",
        "details",
        "expires_at",
        "size_vram",
        "context_length",
    ]
    details = ["parent_model", "format", "family", "families", "parameter_size", "quantization_level"]
    assert list(model["details"]) == details
    assert list(server.post("/api/show", model=tiny).json()["details"]) == details


def test_a_model_must_be_named(server: Server) -> None:
    assert server.post("/api/show").json() == {"error": "model is required"}
    assert server.post("/api/chat").status_code == 400


def test_an_answer_streams_and_ends_with_figures(server: Server, tiny: str) -> None:
    lines = server.lines("/api/generate", model=tiny, prompt="hello", options={"num_predict": 4, "seed": 1})
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert last["done_reason"] == "length"
    assert last["eval_count"] == 4
    for key in (
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_duration",
    ):
        assert isinstance(last[key], int), key
        assert last[key] > 0, key
    assert last["total_duration"] >= last["eval_duration"]
    assert isinstance(last["context"], list)


def test_an_answer_without_a_stream_is_the_same_in_one(server: Server, tiny: str) -> None:
    options = {"num_predict": 4, "seed": 1, "temperature": 0}
    lines = server.lines("/api/generate", model=tiny, prompt="hello", options=options)
    whole = server.post("/api/generate", model=tiny, prompt="hello", options=options, stream=False).json()
    assert whole["response"] == "".join(line["response"] for line in lines)
    assert whole["done"] is True
    assert whole["eval_count"] == 4


def test_chat_answers_in_messages(server: Server, tiny: str) -> None:
    messages = [{"role": "user", "content": "hello"}]
    lines = server.lines("/api/chat", model=tiny, messages=messages, options={"num_predict": 3})
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert lines[-1]["eval_count"] == 3
    assert "response" not in lines[-1]


def test_a_parameter_of_the_wrong_type_fails_every_use(server: Server, tiny: str) -> None:
    for options, words in (
        ({"num_ctx": "4096"}, 'option "num_ctx" must be of type integer'),
        ({"temperature": "warm"}, 'option "temperature" must be of type float32'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ):
        answer = server.post("/api/generate", model=tiny, options=options)
        assert (answer.status_code, answer.json()) == (500, {"error": words})


def test_num_gpu_zero_is_the_cpu(server: Server, tiny: str) -> None:
    server.post("/api/generate", model=tiny, options={"num_gpu": 0})
    assert server.running()["tiny:latest"]["size_vram"] == 0


def test_thinking_is_refused_where_it_cannot_be(server: Server, tiny: str) -> None:
    answer = server.post("/api/generate", model=tiny, prompt="x", think=True)
    assert (answer.status_code, answer.json()) == (400, {"error": '"tiny" does not support thinking'})


def test_loading_a_file_that_is_gone_is_500(server: Server, tiny: str) -> None:
    model = server.manifest(tiny)["layers"][0]["digest"]
    server.blob_path(model).unlink()
    answer = server.post("/api/generate", model=tiny)
    assert answer.status_code in (400, 404, 500)
    assert "error" in answer.json()


def test_embedding_loads_with_empty_input(server: Server, tiny: str) -> None:
    answer = server.post("/api/embed", model=tiny, input="")
    assert answer.status_code == 200
    assert answer.json()["embeddings"] == []
    assert list(server.running()) == ["tiny:latest"]
