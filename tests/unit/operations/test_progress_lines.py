"""A run in plain lines: few, and each with all that is to be known."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ollama_fleet.operations.progress_lines import AT_LEAST_EVERY, AT_MOST_EVERY, ProgressLines

GIB = 1 << 30


@dataclass
class At:
    """A host, as far as it is asked."""

    name: str

    @property
    def print_prefix(self) -> str:
        return f"[{self.name}] "


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("pyinfra"), Kept()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


def pull(lines: ProgressLines, clock: Clock, at: Any, *, seconds: float, size: int, there: int = 0) -> None:
    for tick in range(int(seconds / 0.5) + 1):
        clock.now = tick * 0.5
        completed = there + int((size - there) * clock.now / seconds)
        lines.transfer(at, "large", "pulling 0123", "sha256:0123", completed, size)


def test_a_line_for_each_tenth(said: list[str]) -> None:
    clock, at = Clock(), At("gpu-01")
    lines = ProgressLines(clock)
    lines.expect(at, "large", 20 * GIB)  # type: ignore[arg-type]
    pull(lines, clock, at, seconds=200, size=20 * GIB)
    assert said[0] == "[gpu-01] large: 10%, 2.0 GiB of 20.0 GiB, 102.4 MiB/s, 3 min 0 s left"
    assert [int(line.split()[2].rstrip("%,")) // 10 for line in said] == list(range(1, 10))


def test_a_slow_one_gives_a_sign_of_life_each_minute(said: list[str]) -> None:
    clock, at = Clock(), At("gpu-01")
    pull(ProgressLines(clock), clock, at, seconds=3600 * 10, size=40 * GIB)
    assert 3600 * 10 / AT_LEAST_EVERY - 2 <= len(said) <= 3600 * 10 / AT_LEAST_EVERY


def test_a_fast_one_says_nothing(said: list[str]) -> None:
    clock, at = Clock(), At("gpu-01")
    pull(ProgressLines(clock), clock, at, seconds=AT_MOST_EVERY - 1, size=20 * GIB)
    assert said == []


def test_what_is_there_already_is_no_rate(said: list[str]) -> None:
    clock, at = Clock(), At("gpu-01")
    pull(ProgressLines(clock), clock, at, seconds=100, size=20 * GIB, there=10 * GIB)
    assert said[0] == "[gpu-01] large: 55%, 11.0 GiB of 20.0 GiB, 102.4 MiB/s, 1 min 30 s left"


def test_a_step_is_told_once(said: list[str]) -> None:
    lines: Any = ProgressLines()
    for at in (At("one"), At("two")):
        for _ in range(3):
            lines.begin(at, "loading small")
    assert said == ["[one] loading small", "[two] loading small"]
