"""`fleet.runs.jsonl`: what was measured comes back as it was, and a line that is broken is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ollama_fleet.checks.kept_runs import append_runs, load_runs
from ollama_fleet.spec.errors import SpecErrors
from page.fleets import benched, tuned

RUNS = (tuned("gpu-01", "reasoner"), *benched("gpu-01", "reasoner", 2))


def test_runs_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "fleet.runs.jsonl"
    assert load_runs(path) == ()
    append_runs(path, RUNS[:1])
    append_runs(path, ())
    append_runs(path, RUNS[1:])
    assert load_runs(path) == RUNS
    assert len(path.read_text().splitlines()) == len(RUNS)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "fleet.runs.jsonl"
    path.write_text("# half a line")
    append_runs(path, RUNS)
    path.write_text(path.read_text().partition("\n")[2])
    assert load_runs(path) == RUNS


@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< HEAD",
        "{}",
        RUNS[0].model_dump_json().replace("2.125", '"fast"'),
        RUNS[0].model_dump_json().replace('"version":1', '"version":2'),
        RUNS[0].model_dump_json().replace("2025-12-30T10:00:00Z", "yesterday"),
        RUNS[1].model_dump_json().replace("900.5", "NaN"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.runs.jsonl"
    append_runs(path, RUNS)
    with path.open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(SpecErrors) as caught:
        load_runs(path)
    (error,) = caught.value.errors
    assert str(error).startswith(f"{path}:{len(RUNS) + 1}:1: ")
    assert "\n" not in str(error)
