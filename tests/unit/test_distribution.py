"""What is handed on: a wheel made from a clone and one made from the sdist hold the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from unit.documents import ROOT


def built(target: Path, *arguments: str | Path) -> Path:
    """The wheel that `python -m build` leaves in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


def test_the_wheel_has_everything_also_by_way_of_the_sdist(tmp_path: Path) -> None:
    direct = built(tmp_path / "direct", "--wheel", ROOT)
    indirect = built(tmp_path / "indirect", ROOT)  # an sdist, and the wheel out of that
    names = ZipFile(direct).namelist()
    package = ROOT / "src/ollama_fleet"
    sources = {
        f"ollama_fleet/{path.relative_to(package)}"
        for folder in (package, package / "templates", package / "modelfiles")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert len(names) == len(set(names))
    assert sorted(ZipFile(indirect).namelist()) == sorted(names)
    assert {name for name in names if ".dist-info/" not in name} == sources
