"""The stand-in is a second opinion: it shares nothing with what it is used to test."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import ollama_sim

FILES = sorted(Path(ollama_sim.__file__).parent.glob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_itself_and_the_standard_library(path: Path) -> None:
    assert imported(path) <= {"ollama_sim", "__future__", *sys.stdlib_module_names}
