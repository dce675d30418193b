"""How names are read, shown and stored."""

from __future__ import annotations

import pytest

from contract.server import Server

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(
    ("given", "shown", "stored"),
    [
        ("tiny", "tiny:latest", "registry.ollama.ai/library/tiny/latest"),
        ("tiny:1b-q4_K_M", "tiny:1b-q4_K_M", "registry.ollama.ai/library/tiny/1b-q4_K_M"),
        ("library/tiny", "tiny:latest", "registry.ollama.ai/library/tiny/latest"),
        ("me/tiny:v1", "me/tiny:v1", "registry.ollama.ai/me/tiny/v1"),
        ("registry.ollama.ai/library/tiny", "tiny:latest", "registry.ollama.ai/library/tiny/latest"),
        ("hf.co/me/tiny-GGUF:IQ3_M", "hf.co/me/tiny-GGUF:IQ3_M", "hf.co/me/tiny-GGUF/IQ3_M"),
        (
            "mirror.lan:5000/library/tiny:8b",
            "mirror.lan:5000/library/tiny:8b",
            "mirror.lan:5000/library/tiny/8b",
        ),
        (
            "http://mirror.lan/library/tiny",
            "mirror.lan/library/tiny:latest",
            "mirror.lan/library/tiny/latest",
        ),
    ],
)
def test_names_get_their_defaults(server: Server, tiny: str, given: str, shown: str, stored: str) -> None:
    server.create("other", **{"from": tiny})
    assert server.post("/api/copy", source="other", destination=given).status_code == 200
    assert shown in server.listed()
    assert (server.models / "manifests" / stored).is_file()


def test_letter_case_follows_what_is_stored(server: Server, tiny: str) -> None:
    server.create("Tiny:LATEST", **{"from": tiny}, parameters={"seed": 1})
    assert list(server.listed()) == ["tiny:latest"]
    assert server.post("/api/show", model="TINY").json()["parameters"].split() == ["seed", "1"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mirror:5000/tiny",
        "tiny@sha256:" + "0" * 64,
        "-tiny",
        "a/b/c/d:e",
        "tiny:",
        "ti ny",
        "[::1]:5000/library/tiny",
    ],
)
def test_names_that_cannot_be(server: Server, tiny: str, name: str) -> None:
    answer = server.post("/api/create", model=name, **{"from": tiny})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid model name"})
    assert server.post("/api/pull", model=name).status_code == 400
    assert server.http.request("DELETE", "/api/delete", json={"model": name}).status_code == 400
    assert server.post("/api/show", model=name).status_code == 400


@pytest.mark.parametrize("tag", ["cloud", "20b-cloud"])
def test_tags_that_mean_the_cloud_are_not_local_models(server: Server, tiny: str, tag: str) -> None:
    assert server.post("/api/generate", model=f"tiny:{tag}").status_code == 403


def test_a_tag_called_local_is_not_part_of_the_name(server: Server, tiny: str) -> None:
    assert server.post("/api/generate", model="tiny:local").json()["done_reason"] == "load"


def test_blanks_around_a_name_do_not_count(server: Server, tiny: str) -> None:
    assert server.post("/api/show", model=f" {tiny} ").status_code == 200
    assert server.post("/api/generate", model=f"{tiny} ").json()["done_reason"] == "load"
