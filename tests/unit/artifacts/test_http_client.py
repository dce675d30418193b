from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(program: str, folder: Path) -> str:
    """Run a program in a Python of its own that finds a `trio` in `folder`; return what it prints."""
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has a trio that fails as the real one does under gevent."""
    package = tmp_path / "trio"
    package.mkdir()
    (package / "__init__.py").write_text("import select\nselect.no_such_epoll\n")
    return tmp_path


IMPORT = "from ollama_fleet.artifacts.http_client import import_httpx; httpx = import_httpx();"


def test_a_trio_that_cannot_be_imported_does_no_harm(folder: Path) -> None:
    with pytest.raises(AssertionError, match="no_such_epoll"):
        run("import httpcore", folder)
    program = f"from gevent import monkey; monkey.patch_all(); {IMPORT} httpx.Client()"
    assert run(f"{program}; import sys; print('trio' in sys.modules)", folder) == "False"


def test_trio_can_still_be_imported_by_others(folder: Path) -> None:
    (folder / "trio" / "__init__.py").write_text("here = 1\n")
    assert run(f"{IMPORT} import trio; print(trio.here, import_httpx() is httpx)", folder) == "1 True"


def test_a_trio_in_use_stays(folder: Path) -> None:
    (folder / "trio" / "__init__.py").write_text("here = 1\nclass Lock: pass\n")
    (folder / "httpcore.py").write_text("import trio\n")
    assert run(f"import trio, sys; {IMPORT} print(sys.modules['trio'] is trio)", folder) == "True"
