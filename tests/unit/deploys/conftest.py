"""A registry on loopback and a directory of releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.artifacts.local_server import LocalServer
from unit.deploys.local_fleet import Registry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = LocalServer()
    yield Registry(server)
    server.close()


@pytest.fixture
def releases(tmp_path: Path) -> str:
    """A directory of archives, as `source`."""
    folder = tmp_path / "releases"
    folder.mkdir()
    for architecture in ("amd64", "arm64"):
        (folder / f"ollama-linux-{architecture}.tar.zst").write_bytes(architecture.encode())
    return folder.as_uri()
