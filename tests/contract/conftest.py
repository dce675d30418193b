"""Which programs the cases run against, and the server each case gets."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import pytest

from contract.registry import Registry, serving
from contract.server import Flavour, Server, environment, running
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_release

STAND_INS = ("0.24.0", "0.32.15")
REAL = os.environ.get("OLLAMA_BIN", "")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "to_0_24: holds for servers up to 0.24")
    config.addinivalue_line("markers", "from_0_30: holds for servers from 0.30 on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a case on every program of the generations it is marked for."""
    if "flavour" not in metafunc.fixturenames:
        return
    definition = metafunc.definition
    stand_in_only = definition.get_closest_marker("contract") is None
    old, new = (definition.get_closest_marker(mark) is not None for mark in ("to_0_24", "from_0_30"))

    def fits(version: str) -> bool:
        later = tuple(int(part) for part in version.split(".")[:2]) >= (0, 30)
        return not (old and later) and not (new and not later)

    chosen = [pytest.param(version, id=f"stand-in-{version}") for version in STAND_INS if fits(version)]
    if not stand_in_only:
        if not REAL:
            reason = "OLLAMA_BIN names no real server"
            chosen.append(pytest.param("", id="real", marks=pytest.mark.skip(reason=reason)))
        elif fits(_version(REAL)):
            chosen.append(pytest.param("", id=f"real-{_version(REAL)}"))
    metafunc.parametrize("flavour", chosen, indirect=True, scope="module")


@cache
def _version(binary: str) -> str:
    env = environment(Path("/nonexistent"), OLLAMA_HOST="127.0.0.1:1")
    said = subprocess.run(
        [binary, "--version"], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r"version is (\d+\.\d+\.\d+)", said.stdout)
    assert found, said.stdout
    return found[1]


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a version to the stand-in's `bin/ollama` of that version."""

    @cache
    def unpack(version: str) -> Path:
        folder = tmp_path_factory.mktemp(f"release-{version}")
        archive = build_release(version, out=folder)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="tar")
        return folder / "bin" / "ollama"

    return unpack


@pytest.fixture(scope="module")
def flavour(request: pytest.FixtureRequest, unpacked: Callable[[str], Path]) -> Flavour:
    """The program under test."""
    if version := request.param:
        return Flavour(f"stand-in {version}", unpacked(version), version, real=False)
    return Flavour(f"real {_version(REAL)}", Path(REAL), _version(REAL), real=True)


@pytest.fixture(scope="module")
def shared(flavour: Flavour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for a module's cases; use `server`, which empties it first."""
    with running(flavour, tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """A running server with no models."""
    yield shared
    shared.reset()


@pytest.fixture
def start(flavour: Flavour, tmp_path: Path) -> Callable[..., AbstractContextManager[Server]]:
    """Start a server of the case's own: `with start(OLLAMA_KEEP_ALIVE="1h") as server`."""

    def begin(home: str = "home", port: int | None = None, **env: str) -> AbstractContextManager[Server]:
        return running(flavour, tmp_path / home, port=port, **env)

    return begin


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that loads."""
    return tiny_gguf(tmp_path_factory.mktemp("weights") / "tiny.gguf")


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry on loopback, empty."""
    with serving(Registry()) as registry:
        yield registry


@pytest.fixture
def tiny(server: Server, weights: Path) -> str:
    """The name of a model that was imported from the tiny GGUF."""
    server.create("tiny", files={"tiny.gguf": server.upload(weights)})
    return "tiny"
