"""The command as CI sees it: exit codes, one line per mistake, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unit.cli.command import run

GOOD = """\
version: 1
release: {version: 0.24.0}
models:
  reasoner: {from: 'registry.lan:5000/library/tiny', num_ctx: 512, num_gpu: 0}
hosts:
  gpu-01: {address: 127.0.0.1, models: [reasoner], ssh: {port: 1}}
"""
LOCK = "version: 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(GOOD)
    return tmp_path


def test_validate(folder: Path) -> None:
    done = run("validate", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing wrong" in done.stdout
    assert json.loads(run("validate", "--json", cwd=folder).stdout) == []


def test_validate_tells_the_place(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(GOOD.replace("num_gpu", "num_gpus"))
    done = run("validate", cwd=folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "fleet.yaml:4:" in line
    assert "num_gpu" in line


def test_validate_as_json_fails_too(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(GOOD.replace("num_gpu", "num_gpus"))
    done = run("validate", "--json", cwd=folder)
    assert done.returncode == 1
    (mistake,) = json.loads(done.stdout)
    assert mistake["line"] == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "missing.yaml"],
        ["validate", "."],
        ["validate", "--no-such-option"],
        ["no-such-verb"],
        ["drift", "no-such-host"],
        ["lock", "missing.yaml"],
    ],
)
def test_mistakes_of_the_user_are_1(arguments: list[str], folder: Path) -> None:
    (folder / "fleet.lock").write_text(LOCK)
    done = run(*arguments, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip()


def test_drift_without_a_lock(folder: Path) -> None:
    done = run("drift", cwd=folder)
    assert done.returncode == 1
    assert "ollama-fleet lock" in done.stderr


def test_drift_of_a_host_that_does_not_answer(folder: Path) -> None:
    (folder / "fleet.lock").write_text(LOCK)
    done = run("drift", "--json", cwd=folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["hosts"]["gpu-01"]["error"]


def test_schema_is_json(tmp_path: Path) -> None:
    done = run("schema", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"].startswith("https://json-schema.org/")


def test_init_writes_a_fleet_that_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    assert run("init", "new", cwd=tmp_path).returncode == 0
    new = tmp_path / "new"
    assert {"fleet.yaml", "deploy.py", "inventory"} <= {path.name for path in new.iterdir()}
    assert run("validate", cwd=new).returncode == 0
    (new / "fleet.yaml").write_text("mine")
    done = run("init", cwd=new)
    assert done.returncode == 1
    assert "fleet.yaml" in done.stderr
    assert (new / "fleet.yaml").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["--version"]])
def test_asking_is_no_mistake(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout
