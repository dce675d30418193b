"""A newcomer: what the README tells them to do first, a clone, and an account with nothing in it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import yaml

from converge.fleet_directory import ROOT, Document

CHAPTER = "## Your first fleet"
SOURCES = (
    *("src", "templates", "modelfiles", "inventory", "deploy.py"),
    *("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"),
)
"""What of a clone `pip install .` looks at."""
BEGIN = "ollama-fleet init"
"""What stands before it installs, in the clone."""


def chapter() -> tuple[str, str, list[str], Document]:
    """What installs, what begins a fleet, the blocks of commands after that, and the fleet that stands between."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"{CHAPTER}\n")[2]
    text = text[: text.index("\n## ")]
    first, *others = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    fleet = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert fleet
    assert text.index(first) < fleet.start() < text.index(others[0])
    install, begin, rest = first.partition(BEGIN)
    parsed: Document = yaml.safe_load(fleet[1])
    return install, begin + rest, others, parsed


def clone(target: Path) -> None:
    """The files of a clone that are needed to install it."""
    target.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, target / name)


def environment(home: Path) -> dict[str, str]:
    """An account with an empty home, on a machine whose Python and pip are those of the tests."""
    kept = {key: value for key, value in os.environ.items() if key == "LANG" or key.startswith("PIP")}
    home.mkdir(exist_ok=True)
    return {
        "PIP_CACHE_DIR": str(Path.home() / ".cache/pip"),
        **kept,
        "PATH": f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm-256color",
    }
