"""Bytes, rate and time left of what is on its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.operations.durations import duration_words
from ollama_fleet.operations.transfer import SAMPLE_EVERY, SETTLED, WINDOW, Transfer, together

MIB = 1 << 20


def fetched(rate: float, seconds: float, *, size: int, there: int = 0, every: float = 0.06) -> Transfer:
    """One piece that comes at a steady rate from second 0 on, as a server tells of it."""
    transfer = Transfer(size)
    for tick in range(int(seconds / every) + 1):
        transfer.hear(tick * every, "weights", min(there + int(rate * tick * every), size), size)
    return transfer


@given(
    rate=st.floats(1e3, 1e9),
    seconds=st.floats(2 * SETTLED, 4 * WINDOW),
    there=st.integers(0, 1 << 40),
    rest=st.floats(1.5, 100),
)
def test_a_steady_line(rate: float, seconds: float, there: int, rest: float) -> None:
    """What was there before says nothing about the line, and the time left is what is left at its rate."""
    size = there + int(rate * seconds * rest)
    transfer = fetched(rate, seconds, size=size, there=there, every=0.5)
    now = int(seconds / 0.5) * 0.5
    assert transfer.done == pytest.approx(there + rate * now, abs=1)
    assert transfer.size == size
    assert transfer.received == pytest.approx(rate * now, abs=1)
    assert transfer.rate(now) == pytest.approx(rate, rel=0.01)
    assert transfer.seconds_left(now) == pytest.approx((size - there) / rate - now, rel=0.01, abs=0.1)


def test_the_rate_is_that_of_late() -> None:
    transfer = fetched(100 * MIB, 60, size=1 << 40)
    for second in range(61, 61 + 2 * int(WINDOW)):
        transfer.hear(second, "weights", transfer.done + 10 * MIB, 1 << 40)
    now = 60 + 2 * int(WINDOW)
    assert transfer.rate(now) == pytest.approx(10 * MIB, rel=0.01)


def test_a_line_that_has_died_shows() -> None:
    transfer = fetched(MIB, 30, size=100 * MIB)
    assert transfer.rate(30 + WINDOW + SAMPLE_EVERY) == 0
    assert transfer.seconds_left(30 + WINDOW + SAMPLE_EVERY) is None


def test_nothing_is_told_of_the_first_moment() -> None:
    transfer = Transfer(100)
    assert (transfer.begun, transfer.share, transfer.rate(5), transfer.seconds_left(5)) == (
        False,
        0,
        None,
        None,
    )
    transfer.hear(5, "a", 0, 60)
    transfer.hear(5.1, "a", 30, 60)
    assert transfer.rate(5.1) is None
    assert transfer.rate(5 + SETTLED) == 30 / SETTLED


def test_layers_that_are_there_already() -> None:
    """A server tells of a layer that it has once, with all its bytes."""
    transfer = Transfer(100)
    transfer.hear(0, "there", 70, 70)
    transfer.hear(0, "new", 0, 30)
    transfer.hear(10, "new", 15, 30)
    assert (transfer.done, transfer.received, transfer.rate(10), transfer.seconds_left(10)) == (
        85,
        15,
        1.5,
        10,
    )


def test_a_piece_that_begins_anew_counts_its_bytes_again() -> None:
    transfer = Transfer(100)
    transfer.hear(0, "a", 0, 100)
    transfer.hear(10, "a", 100, 100)
    transfer.hear(11, "a", 0, 100)
    assert (transfer.done, transfer.left) == (0, 100)
    transfer.hear(20, "a", 100, 100)
    assert transfer.received == 200
    transfer.complete = True
    assert (transfer.done, transfer.left, transfer.rate(21), transfer.seconds_left(21)) == (100, 0, None, 0.0)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 5), st.sampled_from(["a", "b", "c"]), st.integers(0, 1 << 42), st.integers(0, 1 << 42)
    ),
    max_size=60,
)


@given(events=EVENTS, expected=st.integers(0, 1 << 42), later=st.floats(0, 100))
def test_whatever_a_server_says(
    events: list[tuple[float, str, int, int]], expected: int, later: float
) -> None:
    transfer, now = Transfer(expected), 0.0
    for pause, piece, completed, total in events:
        now += pause
        transfer.hear(now, piece, completed, total)
        assert 0 <= transfer.done <= transfer.size
    now += later
    assert transfer.left >= 0
    assert 0 <= transfer.share <= 1
    rate, left = transfer.rate(now), transfer.seconds_left(now)
    assert rate is None or rate >= 0
    assert left is None or left >= 0


def test_together_nobody_is_through_before_the_slowest() -> None:
    fast = fetched(10 * MIB, 20, size=400 * MIB)
    slow = fetched(MIB, 20, size=120 * MIB)
    done, size, rate, left = together(20, [[fast], [slow]])
    assert (done, size) == (pytest.approx(220 * MIB, rel=0.01), 520 * MIB)
    assert rate == pytest.approx(11 * MIB, rel=0.01)
    assert left == pytest.approx(100, rel=0.02)


def test_together_those_that_wait_come_after() -> None:
    first = fetched(10 * MIB, 20, size=400 * MIB)
    waiting = [Transfer(1000 * MIB) for _ in range(2)]
    assert together(20, [[first], *([one] for one in waiting)])[3] == pytest.approx(220, rel=0.02)


def test_together_nothing() -> None:
    complete = Transfer(7, complete=True)
    assert together(0, []) == (0, 0, None, 0.0)
    assert together(0, [[complete]]) == (7, 7, None, 0.0)
    assert together(0, [[complete, Transfer(3)]]) == (7, 10, None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (260, "4 min 20 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_duration_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
