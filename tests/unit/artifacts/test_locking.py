from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.artifacts.http_source import HttpOptions
from ollama_fleet.artifacts.lock import ArchiveLock, Lock
from ollama_fleet.artifacts.locking import LockingError, resolve_file, resolve_model, resolve_release
from ollama_fleet.artifacts.names import ModelName
from unit.artifacts.local_server import LocalServer, Reply, Request

OPTIONS = HttpOptions(insecure=True, timeout=5, retries=0)
AMD64, ARM64 = "ollama-linux-amd64.tar.zst", "ollama-linux-arm64.tar.zst"


def digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def mirror(server: LocalServer) -> LocalServer:
    listing = f"{digits(b'amd')}  ./{AMD64}\n{digits(b'arm64')}  ./{ARM64}\n"
    server.routes["/0.32.15/sha256sum.txt"] = Reply(body=listing.encode())
    server.routes[f"/0.32.15/{AMD64}"] = Reply(302, headers={"Location": "/storage/1"})
    server.routes["/storage/1"] = Reply(body=b"amd")
    server.routes[f"/0.32.15/{ARM64}"] = Reply(body=b"arm64")
    return server


@pytest.mark.parametrize("source", ["{url}/0.32.15", "{url}/0.32.15/", "{url}/{{version}}/"])
def test_a_release_comes_from_a_mirror(mirror: LocalServer, source: str) -> None:
    release = resolve_release(
        "0.32.15", ["linux-amd64", "linux-arm64"], source=source.format(url=mirror.url), options=OPTIONS
    )
    assert release.archives == {
        # The mirror's address, not where it sends us today.
        "linux-amd64": ArchiveLock(url=f"{mirror.url}/0.32.15/{AMD64}", sha256=digits(b"amd"), size=3),
        "linux-arm64": ArchiveLock(url=f"{mirror.url}/0.32.15/{ARM64}", sha256=digits(b"arm64"), size=5),
    }
    assert [request.method for request in mirror.requests].count("GET") == 1 + 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"/0.32.15/sha256sum.txt": Reply(404)}, "is there such a release?"),
        ({"/0.32.15/sha256sum.txt": Reply(body=b"<html>")}, "sha256sum.txt:1: this is no line"),
        ({"/0.32.15/sha256sum.txt": Reply(body=b"\xff" * 100)}, "this is no line"),
        ({"/0.32.15/sha256sum.txt": Reply(body=b" " * (2 << 20))}, "longer than"),
        ({"/0.32.15/sha256sum.txt": Reply(body=b"")}, f"has no {AMD64}"),
        ({f"/0.32.15/{AMD64}": Reply(404)}, "answers 404, though its hash is listed"),
        ({f"/0.32.15/{AMD64}": Reply(length=False)}, "does not tell its size"),
    ],
)
def test_a_mirror_that_lacks_something_is_told(
    mirror: LocalServer, change: dict[str, Reply], reason: str
) -> None:
    mirror.routes.update(change)
    with pytest.raises(LockingError) as caught:
        resolve_release("0.32.15", ["linux-amd64"], source=f"{mirror.url}/0.32.15/", options=OPTIONS)
    message = str(caught.value)
    assert message.startswith(f"release 0.32.15: {mirror.url}/0.32.15/")
    assert reason in message
    assert "\n" not in message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / AMD64).write_bytes(b"amd")
    (tmp_path / ARM64).write_bytes(b"arm64")
    return tmp_path


def test_a_release_comes_from_a_directory(folder: Path) -> None:
    release = resolve_release("0.32.15", ["linux-amd64"], source=folder)
    assert release.archives["linux-amd64"] == ArchiveLock(
        url=f"file://{folder}/{AMD64}", sha256=digits(b"amd"), size=3
    )
    assert resolve_release("0.32.15", ["linux-amd64"], source=f"file://{folder}") == release
    assert resolve_release("0.32.15", ["linux-amd64"], source=folder / AMD64) == release


def test_hashes_beside_archives_must_be_right(folder: Path) -> None:
    (folder / "sha256sum.txt").write_text(f"{digits(b'amd')}  ./{AMD64}\n{digits(b'x')}  ./{ARM64}\n")
    resolve_release("0.32.15", ["linux-amd64"], source=folder)
    with pytest.raises(LockingError, match=r"sha256sum\.txt beside it says"):
        resolve_release("0.32.15", ["linux-arm64"], source=folder)


@pytest.mark.parametrize(
    ("version", "targets", "source", "reason"),
    [
        ("0.32", ["linux-amd64"], None, "is no version"),
        ("0.32.15", ["linux-mips"], None, "no kind of archive"),
        ("0.32.15", [], None, "no target"),
        ("0.32.15", ["linux-amd64"], "{folder}/none", "neither a file nor a directory"),
        ("0.31.0", ["linux-amd64-rocm"], "{folder}", "no such file"),
        ("0.32.15", ["linux-amd64", "linux-arm64"], f"{{folder}}/{AMD64}", "is one file"),
        ("0.32.15", ["linux-amd64"], "https://me:secret@mirror/", "secrets must not get into the lock"),
        ("0.32.15", ["linux-amd64"], "{folder}/a b.tar", "plain name of a file"),
    ],
)
def test_a_release_that_cannot_be_resolved_is_told(
    folder: Path, version: str, targets: list[str], source: str | None, reason: str
) -> None:
    (folder / "a b.tar").write_bytes(b"x")
    where = None if source is None else source.format(folder=folder)
    with pytest.raises(LockingError) as caught:
        resolve_release(version, targets, source=where, options=OPTIONS)
    message = str(caught.value)
    assert message.startswith(f"release {version}: ")
    assert reason in message
    assert "\n" not in message
    assert "secret@" not in message


class Model:
    """A model in a registry on loopback."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.name = ModelName.parse(f"{server.host}/library/qwen3:8b")
        self.layers: list[dict[str, Any]] = []
        self.config = self.blob(b'{"model_format":"gguf","model_family":"qwen3","renderer":"r","os":"linux"}')
        self.config["mediaType"] = "application/vnd.docker.container.image.v1+json"

    def blob(self, content: bytes, kind: str = "") -> dict[str, Any]:
        digest = f"sha256:{digits(content)}"

        def answer(request: Request) -> Reply:
            if "Range" not in request.headers:
                return Reply(body=content)
            start, _, end = request.headers["Range"].removeprefix("bytes=").partition("-")
            part = content[int(start) : int(end) + 1]
            return Reply(206, part, {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

        self.server.routes[f"/v2/library/qwen3/blobs/{digest}"] = answer
        return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": len(content)}

    def add(self, kind: str, content: bytes) -> None:
        self.layers.append(self.blob(content, kind))

    def publish(self) -> bytes:
        manifest = json.dumps({"schemaVersion": 2, "config": self.config, "layers": self.layers}).encode()
        self.server.routes["/v2/library/qwen3/manifests/8b"] = Reply(body=manifest)
        return manifest


@pytest.fixture
def model(server: LocalServer) -> Model:
    return Model(server)


def test_a_model_is_locked_with_parameters_and_config(model: Model) -> None:
    model.add("model", b"GGUF" + b"w" * 1000)
    model.add("params", b'{ "stop": ["<|im_end|>"], "temperature": 0.6 }')
    manifest = model.publish()
    locked = resolve_model(model.name, OPTIONS)
    assert locked.digest == f"sha256:{digits(manifest)}"
    assert locked.params == {"stop": ["<|im_end|>"], "temperature": 0.6}
    assert locked.model_details().architecture == "qwen3"
    assert locked.model_details().renderer == "r"
    assert [layer.size for layer in locked.layers] == [1004, 46]
    assert locked.facts is None
    assert Lock.loads(Lock().with_model(model.name, locked).dumps().encode()).model(model.name) == locked
    weights = model.layers[0]["digest"]
    assert not any(weights in request.path for request in model.server.requests)


def test_of_several_parameter_layers_the_first_counts_for_each_key(model: Model) -> None:
    model.add("params", b'{"a": 1, "b": 1}')
    model.add("params", b'{"b": 2, "c": 2}')
    model.publish()
    assert resolve_model(model.name, OPTIONS).params == {"a": 1, "b": 1, "c": 2}


def test_facts_are_read_from_the_beginning_of_the_weights(model: Model) -> None:
    model.add("model", b"GGUF" + bytes(range(100)))
    model.publish()
    locked = resolve_model(
        model.name,
        OPTIONS,
        read_facts=lambda read, size: {"magic": read(0, 4).decode(), "at": list(read(6, 2)), "size": size},
    )
    assert locked.facts == {"magic": "GGUF", "at": [2, 3], "size": 104}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (b"[]", "no JSON object"),
        (b"{", "no JSON object"),
        (b'{"a": NaN}', "no JSON object"),
        (b'{"a": 1e999}', "no JSON object"),
        (b'{"a": "\\ud800"}', "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b" " * (2 << 20), "longer than"),
    ],
)
def test_parameters_that_no_model_could_be_made_of_are_refused(
    model: Model, params: bytes, reason: str
) -> None:
    model.add("params", params)
    model.publish()
    with pytest.raises(LockingError, match=reason) as caught:
        resolve_model(model.name, OPTIONS)
    assert str(caught.value).startswith(f"model {model.name.short}: ")
    assert "\n" not in str(caught.value)


def test_a_config_that_is_none_is_refused(model: Model) -> None:
    model.config = model.blob(b"[]")
    model.publish()
    with pytest.raises(LockingError, match="config is no JSON object"):
        resolve_model(model.name, OPTIONS)


def test_a_model_that_is_not_there_is_told(model: Model) -> None:
    with pytest.raises(LockingError, match=r"no such model library/qwen3:8b"):
        resolve_model(model.name, OPTIONS)


def test_a_gguf_file_is_locked_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"x" * 3_000_000)
    locked = resolve_file(
        path, read_facts=lambda read, size: {"size": size, "end": read(size - 1, 9).decode()}
    )
    assert (locked.sha256, locked.size) == (digits(path.read_bytes()), 3_000_004)
    assert locked.facts == {"size": 3_000_004, "end": "x"}


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(LockingError, match="no GGUF"):
        resolve_file(tmp_path / "m.gguf")
    with pytest.raises(LockingError, match="no such file"):
        resolve_file(tmp_path / "n.gguf")
    with pytest.raises(LockingError, match="is a directory"):
        resolve_file(tmp_path)
