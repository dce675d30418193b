"""Durations the way Go reads and writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_sim import gotime


@given(st.integers(min_value=-(2**53), max_value=2**53).map(lambda n: n * 1000))
def test_what_is_written_reads_back(nanoseconds: int) -> None:
    assert (
        abs(gotime.parse_duration(gotime.format_duration(nanoseconds)) - nanoseconds)
        <= abs(nanoseconds) * 1e-15
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("-1s", -1), ("300ms", 0.3), ("0", 0), ("1.5h", 5400), ("+2s", 2)],
)
def test_durations(text: str, seconds: float) -> None:
    assert gotime.parse_duration(text) == seconds * gotime.SECOND


@pytest.mark.parametrize("text", ["", "5", "-", "s", "5 m", "5x", "1h 30m", "1..5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        gotime.parse_duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (86400 * 10**9, "24h0m0s"),
        (90 * 10**9, "1m30s"),
        (1_500_000, "1.5ms"),
        (0, "0s"),
        (gotime.FOREVER, "2562047h47m16.854775807s"),
    ],
)
def test_how_durations_look(nanoseconds: int, text: str) -> None:
    assert gotime.format_duration(nanoseconds) == text
