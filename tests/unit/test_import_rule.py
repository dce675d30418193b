"""The way through the house is one-way: a folder imports only from folders above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "ollama_fleet"
ORDER = (
    "spec",
    "hardware",
    "artifacts",
    "planner",
    "api",
    "connectors",
    "probe",
    "operations",
    "checks",
    "deploys",
    "outputs",
    "cli",
)
"""From the top; what is further down may import what is further up."""
IMPURE = {
    "asyncio",
    "datetime",
    "httpx",
    "os",
    "paramiko",
    "pyinfra",
    "random",
    "socket",
    "subprocess",
    "time",
}
"""What a planner that does no I/O and knows no clock has no use for."""
LONGEST = 400
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def folder(module: str) -> str | None:
    """The folder of the package that a module lies in."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ollama_fleet" and len(parts) > 1 else None


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders - {"starter", "__pycache__"} <= set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_from_above(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0]
    if own not in ORDER:
        return
    allowed = set(ORDER[: ORDER.index(own) + 1])
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imported(path)
        if (other := folder(name)) is not None and other in ORDER and other not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", sorted((SOURCE / "planner").rglob("*.py")), ids=lambda path: path.name)
def test_planner_is_pure(path: Path) -> None:
    wrong = [
        f"{path.name}:{line} imports {name}" for line, name in imported(path) if name.split(".")[0] in IMPURE
    ]
    assert wrong == []
    calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if _is_plain_call(node)}
    assert calls & {"open", "print", "input", "exec", "eval"} == set()


def _is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_no_module_without_an_idea() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
    named = [
        path for path in MODULES if path.stem in vague or vague & set(path.relative_to(SOURCE).parts[:-1])
    ]
    assert named == []


def test_files_are_short() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_stand_in_knows_nothing_of_us() -> None:
    files = sorted((ROOT / "tests" / "ollama_sim").rglob("*.py"))
    assert files
    wrong = [
        f"{path.name}:{line}"
        for path in files
        for line, name in imported(path)
        if name.split(".")[0] == "ollama_fleet"
    ]
    assert wrong == []
    assert not any("ollama_fleet" in path.read_text() for path in files)
