"""The client against a server on loopback that answers well, badly, late or not at all."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.api.client import Ollama, Progress, TaggedModel
from ollama_fleet.api.errors import ApiError, Refused, Unreachable
from ollama_fleet.api.inference import ask, embed, generate
from ollama_fleet.api.transport import open_direct

Asked = list[tuple[str, bytes]]
"""Request line without version, and body."""


@contextmanager
def served(status: int = 200, body: bytes = b"", *, cut: bool = False) -> Iterator[tuple[Ollama, Asked]]:
    """A client of a server that always answers this, and what it was asked; `cut` ends before it is complete."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked.append((f"{self.command} {self.path}", self.rfile.read(length)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) + (9 if cut else 0)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = cut

        do_GET = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - names that the library looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Ollama("127.0.0.1", server.server_port, open_direct, timeout=5) as client:
            yield client, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stream(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_version_and_greeting() -> None:
    with served(body=b'{"version":"0.24.0"}') as (client, asked):
        assert client.version() == "0.24.0"
    with served(body=b"Ollama is running\n") as (client, asked):
        assert client.greeting() == "Ollama is running"
    assert asked == [("GET /", b"")]


def test_tags_of_an_empty_server() -> None:
    with served(body=b'{"models":null}') as (client, _):
        assert client.tags() == []


def test_tags() -> None:
    listed = [
        {"name": "a:latest", "digest": "sha256:12", "size": 3},
        {"name": "b", "digest": "34", "size": 4},
    ]
    with served(body=json.dumps({"models": listed}).encode()) as (client, _):
        assert client.tags() == [TaggedModel("a:latest", "12", 3), TaggedModel("b", "34", 4)]


def test_pull_tells_progress_and_asks_for_what_was_wanted() -> None:
    told: list[Progress] = []
    body = stream(
        {"status": "pulling", "digest": "sha256:1", "total": 10, "completed": 4}, {"status": "success"}
    )
    with served(body=body) as (client, asked):
        client.pull("lan/a/b:c", insecure=True, told=told.append)
    assert told == [Progress("pulling", "sha256:1", 4, 10), Progress("success")]
    assert [(line, json.loads(sent)) for line, sent in asked] == [
        ("POST /api/pull", {"model": "lan/a/b:c", "insecure": True})
    ]


def test_error_inside_a_stream_that_began_well() -> None:
    body = stream({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"})
    with served(body=body) as (client, _), pytest.raises(Refused, match="file does not exist"):
        client.pull("a", insecure=False, told=lambda _: None)


@pytest.mark.parametrize("body", [b"", stream({"status": "pulling"}), b"\n\n"])
def test_stream_that_ends_early(body: bytes) -> None:
    with served(body=body) as (client, _), pytest.raises(Unreachable, match="ended early"):
        client.pull("a", insecure=False, told=lambda _: None)


def test_connection_that_breaks_in_the_middle() -> None:
    with served(body=stream({"status": "success"}), cut=True) as (client, _), pytest.raises(Unreachable):
        client.create({"model": "a"}, told=lambda _: None)


def test_line_that_is_no_json() -> None:
    with served(body=b"<html>\n") as (client, _), pytest.raises(Refused, match="not JSON"):
        client.create({"model": "a"}, told=lambda _: None)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b'{"error":"out of\\nmemory"}', "out of memory"),
        (404, b"404 page not found", "404 page not found"),
        (502, b"", "an empty error"),
        (200, b"[]", "not an object"),
        (200, b"<html>", "not JSON"),
    ],
)
def test_errors_are_one_line(status: int, body: bytes, said: str) -> None:
    with served(status, body) as (client, _), pytest.raises(Refused) as error:
        client.show("a")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_deleting_what_is_not_there_is_no_error() -> None:
    with served(404, b'{"error":"model not found"}') as (client, _):
        client.delete("a")
    with served(500, b'{"error":"disk"}') as (client, _), pytest.raises(Refused, match="disk"):
        client.delete("a")


def test_blobs() -> None:
    with served() as (client, asked):
        assert client.has_blob("sha256:1")
        client.upload_blob("sha256:1", iter([b"con", b"tent"]))
    assert asked[0] == ("HEAD /api/blobs/sha256:1", b"")
    with served(404) as (client, _):
        assert not client.has_blob("sha256:1")


def test_load_of_an_embedding_model() -> None:
    with served(400, b'{"error":"\\"a\\" does not support generate"}') as (client, asked):
        with pytest.raises(Refused):
            client.load("a", -1)
        assert [line for line, _ in asked] == ["POST /api/generate", "POST /api/embed"]
        assert json.loads(asked[1][1]) == {"model": "a", "stream": False, "keep_alive": -1, "input": ""}


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with (
            Ollama("127.0.0.1", taken.getsockname()[1], open_direct) as client,
            pytest.raises(Unreachable) as error,
        ):
            client.version()
    assert f"http://127.0.0.1:{client._client.base_url.port}/api/version" in str(error.value)


def test_server_that_hangs() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with (
            Ollama("127.0.0.1", silent.getsockname()[1], open_direct, timeout=0.2) as client,
            pytest.raises(Unreachable, match="no answer in time"),
        ):
            client.version()


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with served(body=b'{"version":"1"}') as (client, _):
        assert client.version() == "1"


ANSWER = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["models", "name", "digest", "size", "status", "completed", "total", "error"]
                ),
                inner,
            ),
        ),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=30, deadline=None)
@given(ANSWER, st.sampled_from([200, 400, 500]))
def test_any_answer_gives_a_value_or_one_line(body: bytes, status: int) -> None:
    with served(status, body) as (client, _):
        pull = partial(client.pull, "a", insecure=False, told=lambda _: None)
        for call in (client.version, client.tags, client.loaded, pull):
            try:
                call()
            except ApiError as error:
                line = str(error)
                assert line
                assert "\n" not in line


def test_an_answer_and_its_figures() -> None:
    body = stream(
        {"response": "Hel", "done": False},
        {"response": "lo", "done": False},
        {"response": "", "done": True, "done_reason": "stop", "eval_count": 2, "eval_duration": 500_000_000},
    )
    with served(body=body) as (client, asked):
        answer = generate(client, "m", "hi", options={"seed": 1}, keep_alive="5m")
    assert (answer.text, answer.done_reason, answer.tokens_per_second) == ("Hello", "stop", 4.0)
    assert json.loads(asked[0][1]) == {
        "model": "m",
        "prompt": "hi",
        "options": {"seed": 1},
        "keep_alive": "5m",
    }


def test_an_error_inside_an_answer_that_began_well() -> None:
    body = stream({"response": "Hel", "done": False}, {"error": "CUDA error: out of memory"})
    with served(body=body) as (client, _), pytest.raises(Refused, match="CUDA error: out of memory"):
        generate(client, "m", "hi")


def test_an_answer_that_breaks_off() -> None:
    with (
        served(body=stream({"response": "Hel", "done": False})) as (client, _),
        pytest.raises(Unreachable, match="broke off"),
    ):
        generate(client, "m", "hi")


@pytest.mark.parametrize("vectors", [[], [["x"]], None, [[1.0, None]], [[True, float("nan")]]])
def test_a_vector_must_be_one_of_numbers(vectors: object) -> None:
    with (
        served(body=json.dumps({"embeddings": vectors}).encode()) as (client, _),
        pytest.raises(Refused, match="no vector of numbers"),
    ):
        embed(client, "m", "hi")


def test_an_embedding_model_is_asked_in_its_own_way() -> None:
    asked = []

    class Embedder(Ollama):
        def lines(self, path: str, *_: object, **__: object) -> Iterator[dict[str, object]]:
            asked.append(path)
            raise Refused('"m" does not support generate', 400)

        def post(self, path: str, *_: object, **__: object) -> dict[str, object]:
            asked.append(path)
            return {"embeddings": [[0.5, -1, 2.0]]}

    with Embedder("127.0.0.1", 1, open_direct) as client:
        assert ask(client, "m", "hi").width == 3
    assert asked == ["/api/generate", "/api/embed"]
