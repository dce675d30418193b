"""In which order hosts change, and when those who have not begun are left alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.operations import turns
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.turns import Turns


@dataclass(eq=False)
class FakeState:
    failed_hosts: set[object] = field(default_factory=set)


@dataclass(eq=False)
class FakeHost:
    name: str
    state: FakeState


@dataclass
class Told:
    """What happened, in order: `+a` begins, `-a` ends, `!a` is left alone, with the reason."""

    events: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def run(
    order: list[str],
    batch: int | None,
    max_failures: int,
    *,
    bad: set[str],
    arrive: list[str] | None = None,
    gone: set[str] = frozenset(),  # type: ignore[assignment]
) -> Told:
    """Let hosts arrive and work; those in `bad` fail at their work, those in `gone` have failed before."""
    told, state = Told(), FakeState()
    made = Turns(order, batch, max_failures)
    hosts = {name: FakeHost(name, state) for name in order}
    for name in order:
        made.expect(name, hosts[name])  # type: ignore[arg-type]
    state.failed_hosts.update(hosts[name] for name in gone)

    def work(name: str) -> None:
        try:
            made.take(name)
        except StepFailed as error:
            told.events.append(f"!{name}")
            told.reasons[name] = str(error)
            return
        told.events.append(f"+{name}")
        gevent.sleep(0)
        told.events.append(f"-{name}")
        made.end(name, well=name not in bad)

    jobs = [gevent.spawn(work, name) for name in arrive or order if name not in gone]
    gevent.joinall(jobs, timeout=20, raise_error=True)
    assert all(job.dead for job in jobs), "a host waits for ever"
    return told


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOOK_EVERY", 0.001)


def test_all_at_once_without_a_batch() -> None:
    told = run(["a", "b", "c"], None, 0, bad={"a"})
    assert told.events == ["+a", "+b", "+c", "-a", "-b", "-c"]


def test_batches_in_the_order_of_the_file_whoever_comes_first() -> None:
    told = run(["a", "b", "c", "d", "e"], 2, 0, bad=set(), arrive=["e", "c", "a", "d", "b"])
    begun = [event[1:] for event in told.events if event[0] == "+"]
    assert [set(begun[:2]), set(begun[2:4]), set(begun[4:])] == [{"a", "b"}, {"c", "d"}, {"e"}]


def test_a_failure_ends_it_for_those_who_have_not_begun() -> None:
    told = run(["a", "b", "c", "d"], 2, 0, bad={"b"})
    assert sorted(told.events[:4]) == ["+a", "+b", "-a", "-b"]
    assert sorted(told.events[4:]) == ["!c", "!d"]
    assert told.reasons["c"] == "rollout stopped: b failed; this host is left as it was"
    assert told.reasons["d"] == told.reasons["c"]


def test_so_many_may_fail() -> None:
    told = run(["a", "b", "c", "d"], 1, 1, bad={"a", "c"})
    assert told.events == ["+a", "-a", "+b", "-b", "+c", "-c", "!d"]
    assert told.reasons["d"] == "rollout stopped: a, c failed; this host is left as it was"


def test_who_fails_before_its_turn_counts() -> None:
    told = run(["a", "b", "c"], 1, 0, bad=set(), gone={"b"})
    assert sorted(told.events) == ["!a", "!c"]
    assert told.reasons["a"].startswith("rollout stopped: b failed")


names = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@settings(deadline=None, max_examples=60)
@given(names, st.integers(1, 4), st.integers(0, 3), st.data())
def test_any_rollout(order: list[str], batch: int, most: int, data: st.DataObject) -> None:
    bad = set(data.draw(st.lists(st.sampled_from(order), unique=True)))
    arrive = data.draw(st.permutations(order))
    told = run(order, batch, most, bad=bad, arrive=arrive)
    begun = [event[1:] for event in told.events if event[0] == "+"]
    assert {event[1:] for event in told.events if event[0] in "+!"} == set(order)
    working: set[str] = set()
    for event in told.events:
        if event[0] == "+":
            working.add(event[1:])
        working.discard(event[1:] if event[0] == "-" else "")
        assert len(working) <= batch
    # Whole batches, in the order of the file; nobody begins once too many have failed.
    for index in range(0, len(begun), batch):
        assert set(begun[index : index + batch]) == set(order[index : index + batch])
        assert len(bad.intersection(order[:index])) <= most
    if len(begun) < len(order):
        assert len(bad.intersection(begun)) > most
