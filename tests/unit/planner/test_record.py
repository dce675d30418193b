"""Records of applies: small whatever happens, and read back as they were written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.record import LARGEST, Change, Origin, Record

ORIGIN = Origin("me@desk", "c" * 40, True, "f" * 64, None)
texts = st.text(max_size=300)
records = st.builds(
    Record,
    id=st.just("20261125T174314Z-abcdef"),
    started=st.just("2026-11-25T17:43:14Z"),
    origin=st.builds(
        Origin,
        texts,
        st.none() | st.just("c" * 40),
        st.none() | st.booleans(),
        st.none() | st.just("f" * 64),
        st.none() | st.just("e" * 64),
    ),
    release=st.just("0.24.0"),
    changes=st.lists(
        st.builds(Change, texts, texts, st.lists(texts, max_size=3).map(tuple)), max_size=60
    ).map(tuple),
)


@settings(deadline=None)
@given(records, st.sampled_from(["ok", "failed"]), st.none() | st.text(max_size=5000))
def test_small_and_read_back(record: Record, outcome: str, reason: str | None) -> None:
    over = record.finished(outcome, "2026-11-25T17:44:00Z", reason)  # type: ignore[arg-type]
    line = over.line()
    assert "\n" not in line
    assert len(line.encode()) <= LARGEST
    read = Record.parse(line)
    assert read.left_out + len(read.changes) == len(record.changes)
    assert replace(read, changes=(), left_out=0) == replace(over, changes=(), left_out=0)
    assert read.changes == record.changes[: len(read.changes)]


def test_aspects_and_no_values() -> None:
    item = WantedDirectory("/srv/models", "ollama", "ollama")
    found = [Difference("mode", "0755", "0700"), Difference("owner", "a", "b"), Difference("mode", "x", "y")]
    change = Change.of(item, found)
    assert change == Change("directory", "/srv/models", ("mode", "owner"))
    record = Record("id", "then", ORIGIN, "0.24.0", (change,))
    assert "0755" not in record.line()


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", json.dumps({"version": 2, "outcome": "ok"}), "null"])
def test_what_is_no_record(line: str) -> None:
    with pytest.raises(ValueError, match=r"record|Expecting"):
        Record.parse(line)
