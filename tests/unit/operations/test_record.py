"""The shell that keeps records: bounded, private, and never what an apply fails at."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from ollama_fleet.operations.record import note_before, write_record
from ollama_fleet.planner.before import Before
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.record import KEPT, Origin, Record
from ollama_fleet.planner.state import FileState
from unit.planner.states import STUDENT

ORIGIN = Origin("me@desk", None, None, None, None)


def layout_in(folder: Path) -> Layout:
    return Layout.of("user").at(str(folder), "me", "me")


def sh(*lines: str) -> subprocess.CompletedProcess[str]:
    script = "\n".join(["set -e", *lines])
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)


def test_the_newest_stay(tmp_path: Path) -> None:
    layout = layout_in(tmp_path / "a b")
    for number in range(KEPT + 3):
        done = sh(write_record(Record(f"2026-{number:04}", "then", ORIGIN, "0.24.0", ()), layout))
        assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in Path(layout.history).iterdir())
    assert names == [f"2026-{number:04}.json" for number in range(3, KEPT + 3)]
    newest = Path(layout.history) / names[-1]
    assert Record.parse(newest.read_text()).id == f"2026-{KEPT + 2:04}"
    assert newest.stat().st_mode & 0o777 == 0o600


def test_where_nothing_can_be_written_the_apply_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    layout = layout_in(tmp_path / "file")
    done = sh(
        *note_before(layout, STUDENT), write_record(Record("x", "then", ORIGIN, "0", ()), layout), "echo on"
    )
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "the record of this apply could not be written" in done.stderr


def test_what_was_not_there_is_noted_once_and_added_to(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    assert sh(*note_before(layout, STUDENT)).returncode == 0
    text = Path(layout.before).read_bytes()
    note = FileState("file", 0o644, "me", "me", content=text)
    there = replace(STUDENT, files={layout.before: note})
    assert note_before(layout, there) == []
    assert layout.releases in Before.of(there, layout).absent
    assert not Before.of(there, layout).lingering

    moved = replace(layout, models="/srv/other/models")
    assert sh(*note_before(moved, there)).returncode == 0
    longer = replace(note, content=Path(layout.before).read_bytes())
    known = Before.of(replace(there, files={layout.before: longer}), layout)
    assert {"/srv/other", "/srv/other/models", layout.models} <= known.absent
