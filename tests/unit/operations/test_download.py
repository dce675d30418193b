"""The controller fetches an archive once, and takes none that is not the locked one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.download import archive_path, cache_directory, fetch
from ollama_fleet.planner.items.release import Archive
from unit.artifacts.local_server import LocalServer, Reply

CONTENT = b"archive" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_directory()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    running = LocalServer()
    yield running
    running.close()


def archive(server: LocalServer, sha256: str = SHA256) -> Archive:
    return Archive("ollama-linux-amd64.tgz", f"{server.url}/ollama-linux-amd64.tgz", sha256, len(CONTENT))


def test_fetched_once_for_all_hosts(server: LocalServer) -> None:
    server.routes["/ollama-linux-amd64.tgz"] = Reply(body=CONTENT)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch(archive(server)), range(4)))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert len(server.requests) == 1


def test_damaged_cache_is_fetched_again(server: LocalServer) -> None:
    server.routes["/ollama-linux-amd64.tgz"] = Reply(body=CONTENT)
    fetch(archive(server)).write_bytes(b"damaged")
    assert fetch(archive(server)).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_other_bytes_than_locked_are_refused_and_not_kept(server: LocalServer, cache: Path) -> None:
    server.routes["/ollama-linux-amd64.tgz"] = Reply(body=b"something else")
    with pytest.raises(StepFailed, match=f"locked is {SHA256}; nothing was installed"):
        fetch(archive(server))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("status", [404, 500])
def test_refusals_are_told_in_one_line(server: LocalServer, status: int) -> None:
    server.routes["/ollama-linux-amd64.tgz"] = Reply(status)
    with pytest.raises(StepFailed) as error:
        fetch(archive(server))
    assert f"{status}" in str(error.value)
    assert "\n" not in str(error.value)


def test_file_of_the_controller(tmp_path: Path) -> None:
    path = tmp_path / "ollama-linux-amd64.tgz"
    wanted = Archive(path.name, f"file://{path}", SHA256, len(CONTENT))
    assert archive_path(wanted) == path
    with pytest.raises(StepFailed, match="is not there"):
        fetch(wanted)
    path.write_bytes(CONTENT)
    assert fetch(wanted) == path
    path.write_bytes(b"other")
    with pytest.raises(StepFailed, match="does not have the locked sha256"):
        fetch(wanted)
    assert path.read_bytes() == b"other"
