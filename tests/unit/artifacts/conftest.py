from __future__ import annotations

from collections.abc import Iterator

import pytest

from unit.artifacts.local_server import LocalServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running = LocalServer()
    yield running
    running.close()
