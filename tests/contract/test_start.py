"""What a start does to the models folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.registry import Registry
from contract.server import Flavour, Server, environment, free_port, running
from contract.stored import digest_of

pytestmark = pytest.mark.contract
Start = Callable[..., AbstractContextManager[Server]]
ORPHAN = b"nobody's"


def leave(models: Path, name: str, *, hours: float) -> Path:
    """Put a file among the blobs that is so many hours old."""
    path = models / "blobs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ORPHAN)
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    return path


def orphan_name(salt: str = "") -> str:
    return digest_of(ORPHAN + salt.encode()).replace(":", "-")


def test_old_orphans_go_and_young_ones_stay(start: Start, tmp_path: Path) -> None:
    models = tmp_path / "home" / "models"
    old = leave(models, orphan_name("old"), hours=2)
    young = leave(models, orphan_name("young"), hours=0.5)
    partial = leave(models, orphan_name("p") + "-partial", hours=2)
    note = leave(models, orphan_name("p") + "-partial-0", hours=2)
    fresh = leave(models, orphan_name("f") + "-partial", hours=0.5)
    with start() as server:
        assert [path.exists() for path in (old, young, partial, note, fresh)] == [
            False,
            True,
            False,
            False,
            True,
        ]
        assert 'msg="total blobs: 1"' in server.log
        assert 'msg="total unused blobs removed: 1"' in server.log


def test_noprune_leaves_everything(start: Start, tmp_path: Path) -> None:
    old = leave(tmp_path / "home" / "models", orphan_name(), hours=2)
    with start(OLLAMA_NOPRUNE="1"):
        assert old.exists()


def test_one_broken_manifest_stops_the_pruning(start: Start, tmp_path: Path) -> None:
    models = tmp_path / "home" / "models"
    old = leave(models, orphan_name(), hours=2)
    broken = models / "manifests" / "registry.ollama.ai" / "library" / "broken" / "latest"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"")
    with start() as server:
        assert old.exists()
        assert "corrupt manifests detected, skipping prune operation" in server.log
        assert server.listed() == {}


def test_models_that_are_used_survive_a_restart(start: Start, weights: Path) -> None:
    with start() as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        used = server.digests("tiny")
        for blob in (server.models / "blobs").iterdir():
            os.utime(blob, (1, 1))
    with start() as again:
        assert again.stored_digests() == used
        assert list(again.listed()) == ["tiny:latest"]


def test_models_copied_onto_the_disk_are_seen_without_a_restart(start: Start, weights: Path) -> None:
    with start("first") as first:
        first.create("tiny", files={"tiny.gguf": first.upload(weights)})
        with start("second") as second:
            for source in first.models.rglob("*"):
                target = second.models / source.relative_to(first.models)
                if source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read_bytes())
            assert second.listed()["tiny:latest"]["digest"] == first.listed()["tiny:latest"]["digest"]
            assert second.post("/api/generate", model="tiny").json()["done_reason"] == "load"


def test_folders_are_made_with_a_usual_mode(start: Start) -> None:
    with start() as server:
        assert (server.models / "blobs").stat().st_mode & 0o777 == 0o755


def test_the_first_start_leaves_a_key_in_the_home(start: Start) -> None:
    with start() as server:
        key = server.home / ".ollama" / "id_ed25519"
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.with_suffix(".pub").exists()


def test_without_a_home_nothing_works_not_even_the_version(flavour: Flavour, tmp_path: Path) -> None:
    said = flavour.run(
        "--version", env={"PATH": os.environ["PATH"], "OLLAMA_HOST": "127.0.0.1:1"}, cwd=tmp_path
    )
    assert said.returncode == 2
    assert said.stderr.startswith("panic: $HOME is not defined\n")


def test_without_a_home_a_models_folder_is_enough_for_the_client_only(
    flavour: Flavour, tmp_path: Path
) -> None:
    env = {"PATH": os.environ["PATH"], "OLLAMA_HOST": "127.0.0.1:1", "OLLAMA_MODELS": str(tmp_path)}
    assert flavour.run("--version", env=env, cwd=tmp_path).returncode == 0
    said = flavour.run("serve", env=env, cwd=tmp_path)
    assert (said.returncode, said.stderr.splitlines()[-1]) == (1, "Error: $HOME is not defined")


def test_a_models_folder_that_cannot_be_ends_the_start(flavour: Flavour, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    models = tmp_path / "file" / "models"
    env = environment(tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}", OLLAMA_MODELS=str(models))
    said = flavour.run("serve", env=env)
    assert said.returncode == 1
    last = said.stderr.splitlines()[-1]
    assert last == f"Error: mkdir {tmp_path / 'file'}: not a directory: ensure path elements are traversable"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("host.invalid:5", "Error: listen tcp: lookup host.invalid: no such host"),
        ("203.0.113.7:5", "Error: listen tcp 203.0.113.7:5: bind: cannot assign requested address"),
    ],
)
def test_an_address_that_is_not_here_ends_the_start(
    flavour: Flavour, tmp_path: Path, host: str, words: str
) -> None:
    said = flavour.run("serve", env=environment(tmp_path, OLLAMA_HOST=host))
    # Go names the resolver that it asked, where it is not the system's own library that asks.
    last = re.sub(r" on \S+:53", "", said.stderr.splitlines()[-1])
    assert (said.returncode, last) == (1, words)


def test_web_pages_need_leave(start: Start) -> None:
    with start(OLLAMA_ORIGINS="https://chat.example") as server:
        for origin, allowed in (
            ("https://chat.example", True),
            ("app://anything", True),
            ("http://localhost:3000", True),
            ("https://evil.example", False),
            ("https://chat.example.evil", False),
        ):
            answer = server.http.get("/api/version", headers={"Origin": origin})
            assert answer.status_code == (200 if allowed else 403), origin
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST"}
        assert server.http.options("/api/chat", headers=asked).status_code == 204


@pytest.mark.parametrize(
    ("origins", "words"),
    [
        ("chat.example", "bad origin: origins must contain '*' or include http://,https://,"),
        ("app://mine", "bad origin: origins must contain '*' or include http://,https://,"),
        ("https://good.example, https://blank-before.example", "bad origin: "),
        ("https://*.example:*", "only one * is allowed"),
    ],
)
def test_an_origin_that_cannot_be_ends_the_start(
    flavour: Flavour, tmp_path: Path, origins: str, words: str
) -> None:
    env = environment(tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}", OLLAMA_ORIGINS=origins)
    said = flavour.run("serve", env=env)
    assert said.returncode == 2
    assert f"\npanic: {words}" in "\n" + said.stderr


def test_all_web_pages_may_be_given_leave(start: Start) -> None:
    with start(OLLAMA_ORIGINS="*") as server:
        answer = server.http.get("/api/version", headers={"Origin": "https://any.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.from_0_30
def test_a_binary_without_its_payload_serves_but_loads_nothing(
    start: Start, flavour: Flavour, weights: Path, registry: Registry, tmp_path: Path
) -> None:
    """What an unpacking that lost `lib/ollama` looks like from outside."""
    lone = tmp_path / "lone" / "bin" / "ollama"
    lone.parent.mkdir(parents=True)
    lone.write_bytes(flavour.binary.read_bytes())
    lone.chmod(0o755)
    registry.add("library/tiny:latest", weights.read_bytes())
    name = registry.name("library/tiny:latest")
    with running(replace(flavour, binary=lone), tmp_path / "home") as server:
        assert server.lines("/api/pull", model=name, insecure=True)[-1] == {"status": "success"}
        answer = server.post("/api/generate", model=name)
        assert answer.status_code == 500
        assert answer.json()["error"].startswith(
            "error starting llama-server: llama-server binary not found (checked: "
        )
        lines = server.lines("/api/create", model="made", files={"tiny.gguf": server.upload(weights)})
        assert "llama-quantize unavailable: llama-quantize binary not found (checked: " in lines[-1]["error"]
