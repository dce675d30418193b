"""What `tune` and `bench` refuse before they touch a host, and what they say of one that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unit.cli.command import document, refused, run

FLEET = """\
version: 1
release: {version: 0.24.0}
models:
  reasoner: {from: 'registry.lan:5000/library/tiny', num_ctx: 512, num_gpu: 0}
groups:
  rack: {hosts: [gpu-01]}
hosts:
  gpu-01: {address: 127.0.0.1, models: [reasoner], ssh: {port: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "fleet.lock").write_text("version: 1\n")
    return tmp_path


@pytest.mark.parametrize("verb", ["tune", "bench"])
def test_names_that_mean_nothing(folder: Path, verb: str) -> None:
    assert '"gpu-02" is no host or group; did you mean "gpu-01"?' in refused(verb, "gpu-02", cwd=folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tune", "rack"), "one host at a time"),
        (("tune", "gpu-01", "--patch", "--json"), "--patch prints the patch alone"),
        (("tune", "gpu-01", "--margin", "much"), "--margin"),
        (("tune", "gpu-01", "--time-limit", "soon"), "no duration"),
        (("bench", "--concurrency", "0"), "from 1 to 64"),
        (("bench", "--fill", "0,100"), "from 0 to 95"),
        (("bench", "--model", "other"), "other is no model of these hosts; there are reasoner"),
        (("bench", "--compare", "none.json"), "none.json"),
    ],
)
def test_options_that_mean_nothing(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments, cwd=folder)
    assert done.returncode == 1
    assert words in done.stderr


def test_an_earlier_run_that_is_none(folder: Path) -> None:
    (folder / "before.json").write_text(json.dumps({"version": 1, "hosts": {"gpu-01": 3}}))
    assert "it is not what `bench --json` writes" in refused("bench", "--compare", "before.json", cwd=folder)


def test_a_measured_file_that_is_broken_is_told_with_its_line(folder: Path) -> None:
    (folder / "fleet.measured.yaml").write_text("version: 1\nmeasured: 7\n")
    line = refused("tune", "gpu-01", cwd=folder)
    assert "fleet.measured.yaml:2:" in line


def test_a_host_that_is_not_there(folder: Path) -> None:
    found = document("tune", "gpu-01", cwd=folder, code=1)
    assert (found["ok"], found["error"], found["models"], found["written"]) == (
        False,
        "no connection",
        {},
        None,
    )
    found = document("bench", "gpu-01", cwd=folder, code=1)
    assert found["hosts"]["gpu-01"]["error"] == "no connection"
