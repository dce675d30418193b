"""/api/pull: what it asks of a registry, what it stores, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from contract.registry import Registry
from contract.server import Server, free_port, wait_for
from contract.stored import digest_of

pytestmark = pytest.mark.contract
MODEL = "library/tiny:1b"


@pytest.fixture
def published(registry: Registry, weights: Path) -> Registry:
    """A registry that has one model with a system text."""
    registry.add(MODEL, weights.read_bytes(), system=b"be brief")
    return registry


def test_a_pull_stores_the_registrys_bytes(server: Server, published: Registry) -> None:
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    words = [line["status"] for line in lines if "digest" not in line]
    assert words == ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"]
    name = published.name(MODEL)
    assert server.manifest_path(name).read_bytes() == published.manifests[MODEL]
    digest = digest_of(published.manifests[MODEL]).removeprefix("sha256:")
    assert server.listed()[name]["digest"] == digest
    assert server.stored_digests() == server.digests(name)
    agent = f"ollama/{server.flavour.version} ("
    assert published.asked("GET", "/manifests/") == [""]
    assert agent


def test_progress_names_the_blob_and_its_size(server: Server, published: Registry, weights: Path) -> None:
    server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    again = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    digest, size = digest_of(weights.read_bytes()), weights.stat().st_size
    shown = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size, "completed": size}
    assert shown in again, "a blob that is there is told as complete"
    assert again[-1] == {"status": "success"}


def test_blobs_that_are_there_are_not_fetched_again(server: Server, published: Registry) -> None:
    server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    published.requests.clear()
    server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    assert [path for _, path, _ in published.requests] == ["/v2/library/tiny/manifests/1b"]


def test_a_moved_tag_replaces_and_removes(server: Server, published: Registry, weights: Path) -> None:
    name = published.name(MODEL)
    server.lines("/api/pull", model=name, insecure=True)
    published.add(MODEL, weights.read_bytes(), system=b"be long")
    lines = server.lines("/api/pull", model=name, insecure=True)
    assert {"status": "removing unused layers"} in lines
    assert server.stored_digests() == server.digests(name)
    assert digest_of(b"be brief") not in server.stored_digests()


def test_a_second_name_keeps_what_a_moved_tag_would_remove(
    server: Server, published: Registry, weights: Path
) -> None:
    name, kept = published.name(MODEL), "fleet-kept/base:sha256-0123456789abcdef"
    server.lines("/api/pull", model=name, insecure=True)
    first, listed = server.digests(name), server.listed()[name]["digest"]
    server.http.post("/api/copy", json={"source": name, "destination": kept}).raise_for_status()
    published.add(MODEL, weights.read_bytes(), system=b"be long")
    server.lines("/api/pull", model=name, insecure=True)
    assert first <= server.stored_digests()
    assert server.listed()[name]["digest"] != listed

    server.http.request("DELETE", "/api/delete", json={"model": name}).raise_for_status()
    server.http.post("/api/copy", json={"source": kept, "destination": name}).raise_for_status()
    server.http.request("DELETE", "/api/delete", json={"model": kept}).raise_for_status()
    assert server.stored_digests() == server.digests(name) == first
    assert {found: it["digest"] for found, it in server.listed().items()} == {name: listed}


def test_https_is_the_only_way_without_insecure(server: Server, published: Registry) -> None:
    lines = server.lines("/api/pull", model=published.name(MODEL))
    url = f"https://{published.host}/v2/library/tiny/manifests/1b"
    words = f'pull model manifest: Get "{url}": http: server gave HTTP response to HTTPS client'
    assert lines == [{"status": "pulling manifest"}, {"error": words}]


def test_http_in_the_name_changes_nothing(server: Server, published: Registry) -> None:
    lines = server.lines("/api/pull", model=f"http://{published.name(MODEL)}")
    assert lines[-1]["error"].endswith("http: server gave HTTP response to HTTPS client")


def test_an_unknown_model(server: Server, registry: Registry) -> None:
    lines = server.lines("/api/pull", model=registry.name("library/nobody"), insecure=True)
    assert lines == [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]


def test_without_a_stream_a_failure_is_500(server: Server, registry: Registry) -> None:
    answer = server.post("/api/pull", model=registry.name("library/nobody"), insecure=True, stream=False)
    assert (answer.status_code, answer.json()) == (500, {"error": "pull model manifest: file does not exist"})


def test_without_a_stream_success_is_one_object(server: Server, published: Registry) -> None:
    answer = server.post("/api/pull", model=published.name(MODEL), insecure=True, stream=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})


def test_nobody_there(server: Server) -> None:
    host = f"127.0.0.1:{free_port()}"
    lines = server.lines("/api/pull", model=f"{host}/library/x", insecure=True)
    url = f"http://{host}/v2/library/x/manifests/latest"
    words = f'pull model manifest: Get "{url}": dial tcp {host}: connect: connection refused'
    assert lines[-1] == {"error": words}


def test_a_blob_the_registry_has_lost(server: Server, published: Registry, weights: Path) -> None:
    published.missing.add(digest_of(weights.read_bytes()))
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    assert lines[-1] == {"error": "file does not exist"}
    assert server.listed() == {}


def test_a_registry_must_say_where_a_blob_is(server: Server, published: Registry) -> None:
    published.answer = "plain"
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    assert lines[-1] == {"error": "http: no Location header in response"}


def test_307_to_another_host_is_followed(server: Server, published: Registry) -> None:
    published.answer = "redirect"
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    assert lines[-1] == {"status": "success"}


def test_302_to_another_host_is_refused(server: Server, published: Registry) -> None:
    published.answer = "elsewhere"
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    assert lines[-1] == {"error": "unexpected status code 302"}


def test_wrong_bytes_are_thrown_away(server: Server, published: Registry, weights: Path) -> None:
    digest = digest_of(weights.read_bytes())
    wrong = bytes(len(weights.read_bytes()))
    published.blobs[digest] = wrong
    lines = server.lines("/api/pull", model=published.name(MODEL), insecure=True)
    words = f"digest mismatch, file must be downloaded again: want {digest}, got {digest_of(wrong)}"
    assert lines[-1] == {"error": words}
    assert not server.blob_path(digest).exists()
    assert server.listed() == {}


def test_an_interrupted_pull_goes_on_where_it_stopped(
    server: Server, published: Registry, weights: Path
) -> None:
    digest, size, held = digest_of(weights.read_bytes()), weights.stat().st_size, 100_000
    published.hold_after = held
    name = published.name(MODEL)
    body = {"model": name, "insecure": True}
    with httpx.stream("POST", f"{server.url}/api/pull", json=body, trust_env=False, timeout=30) as answer:
        for line in answer.iter_lines():
            if json.loads(line).get("completed") == held:
                break
    partial = server.blob_path(digest).with_name(server.blob_path(digest).name + "-partial")
    note = partial.with_name(partial.name + "-0")
    wait_for(lambda: json.loads(note.read_text() or "{}").get("Completed"), "the progress to be noted")
    assert json.loads(note.read_text()) == {"N": 0, "Offset": 0, "Size": size, "Completed": held}
    assert note.read_text() == f'{{"N":0,"Offset":0,"Size":{size},"Completed":{held}}}\n'
    assert partial.stat().st_size == size, "the file has its full length from the start"
    assert server.listed() == {}
    published.hold_after = None
    published.released.set()
    published.requests.clear()
    assert server.lines("/api/pull", model=name, insecure=True)[-1] == {"status": "success"}
    assert f"bytes={held}-{size - 1}" in published.asked("GET", digest)
    assert not list(partial.parent.glob("*-partial*"))
