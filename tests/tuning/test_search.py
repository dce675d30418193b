"""The search finds the true largest value with few loads: on simulated machines, and on any ladder at all."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.planner.largest_stable import Found, Ladder, Seen, Try, next_step
from tuning.simulated import GIB, MARGIN, MIB, Case, Outcome, matrix, searched


def check(outcome: Outcome) -> None:
    """The true largest value, within the budget of loads."""
    case = outcome.case
    told = f"{case.name}: {[(one.rung, one.held) for one in outcome.seen]}"
    assert outcome.found.rung == case.best, told
    assert outcome.loads <= case.ladder.budget, told


def check_stable(outcome: Outcome) -> None:
    """It holds however the memory that others use wavers."""
    case, rung = outcome.case, outcome.found.rung
    told = f"{case.name}: {[(one.rung, one.held) for one in outcome.seen]}"
    assert rung == 0 or case.free_at_peak(rung, wavering=case.jitter) is not None, told
    assert rung <= case.best, told


def drawn(seed: int, count: int) -> list[Case]:
    return random.Random(seed).sample(list(matrix(seed)), count)


@pytest.mark.parametrize("case", drawn(7, 24), ids=lambda case: case.name)
def test_a_share_of_the_matrix(case: Case) -> None:
    check(searched(case))


@pytest.mark.parametrize("case", drawn(8, 12), ids=lambda case: case.name)
def test_with_a_late_oom_and_wavering_memory_it_still_ends_stable(case: Case) -> None:
    check_stable(searched(replace(case, jitter=MARGIN - 1 * MIB, growth=512 * MIB, seed=1)))


@pytest.mark.parametrize("case", drawn(9, 6), ids=lambda case: case.name)
def test_where_nobody_measures_memory_running_out_is_enough(case: Case) -> None:
    outcome = searched(replace(case, measures=False))
    holds = [n for n in range(case.layers + 1) if n == 0 or case.free_at_peak(n) is not None]
    assert outcome.found.rung == max(holds)
    assert outcome.loads <= case.ladder.budget


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
def test_the_whole_matrix(seed: int) -> None:
    outcomes = [searched(case) for case in matrix(seed)]
    for outcome in outcomes:
        check(outcome)
    partial = [outcome for outcome in outcomes if 0 < outcome.case.best < outcome.case.layers]
    assert len(partial) > 50, "most of the matrix must be worth a search"
    assert statistics.median(outcome.loads for outcome in partial) <= 4


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
def test_the_whole_matrix_with_wavering_memory(seed: int) -> None:
    for case in matrix(seed):
        for growth in (0, 300 * MIB, GIB):
            check_stable(searched(replace(case, jitter=MARGIN - 1 * MIB, growth=growth, seed=seed)))


@given(
    true=st.integers(0, 80),
    top=st.integers(1, 80),
    planned_layer=st.integers(1, 4 * GIB),
    room=st.integers(0, 64 * GIB),
    doubt=st.floats(0, 1),
)
def test_any_threshold_is_found_within_the_budget(
    true: int, top: int, planned_layer: int, room: int, doubt: float
) -> None:
    """Whatever was planned: a wrong plan costs loads, never the result."""
    ladder = Ladder(tuple((n * planned_layer,) for n in range(top + 1)), (room,), doubt)
    seen: list[Seen] = []
    while isinstance(step := next_step(ladder, seen), Try):
        assert 0 < step.rung <= top
        assert step.rung not in [one.rung for one in seen]
        seen.append(Seen(step.rung, step.rung <= true))
    assert step.rung == min(true, top)
    assert len(seen) <= ladder.budget


@given(st.data(), st.integers(1, 80))
def test_contradictions_end_at_something_that_held(data: st.DataObject, top: int) -> None:
    ladder = Ladder(tuple((n * GIB,) for n in range(top + 1)), (20 * GIB,))
    seen: list[Seen] = []
    while isinstance(step := next_step(ladder, seen), Try):
        held = data.draw(st.booleans())
        taken = data.draw(st.none() | st.tuples(st.integers(0, 40 * GIB)))
        seen.append(Seen(step.rung, held, taken))
        assert len(seen) <= top + 1
    held_rungs = [one.rung for one in seen if one.held]
    assert step.rung == max(held_rungs, default=0)


def test_a_search_that_was_cut_off_goes_on_where_it_was() -> None:
    case = Case("deepseek-r1:32b", 16 * GIB, 8192, -0.12)
    whole = searched(case)
    assert whole.loads >= 2
    for cut in range(whole.loads):
        step = next_step(case.ladder, whole.seen[:cut])
        assert step == Try(whole.seen[cut].rung)
    assert next_step(case.ladder, whole.seen) == whole.found


def test_two_devices_are_both_kept_within_their_room() -> None:
    """The second fills later, and is the one that runs out."""
    planned = tuple((min(n, 10) * GIB, max(n - 10, 0) * GIB) for n in range(31))
    ladder = Ladder(planned, (12 * GIB, 8 * GIB))
    seen: list[Seen] = []
    while isinstance(step := next_step(ladder, seen), Try):
        taken = tuple(int(size * 1.1) + (280 * MIB if size else 0) for size in planned[step.rung])
        seen.append(Seen(step.rung, all(t <= r for t, r in zip(taken, ladder.room, strict=True)), taken))
    assert step.rung == 10 + 7
    assert len(seen) <= 3


def test_the_first_try_is_where_the_plan_holds_even_if_it_is_somewhat_low() -> None:
    case = Case("deepseek-r1:32b", 16 * GIB, 8192, 0.09)
    (first, *_) = searched(case).seen
    assert first.held, "running out would tell nothing of what a layer takes"


def test_what_was_measured_once_is_tried_first_the_next_time() -> None:
    case = Case("deepseek-r1:32b", 16 * GIB, 8192, -0.12)
    ladder = replace(
        case.ladder,
        planned=tuple((int(size * 0.88),) for (size,) in case.ladder.planned),
        doubt=0.01,
    )
    step = next_step(ladder, [])
    assert isinstance(step, Try)
    assert abs(step.rung - case.best) <= 1


def test_found_says_what_the_next_one_lacks() -> None:
    ladder = Ladder(tuple((n * GIB,) for n in range(21)), (10 * GIB,))
    seen = [Seen(9, held=True, taken=(9 * GIB + 300 * MIB,))]
    step = next_step(ladder, seen)
    assert step == Found(9, 300 * MIB)
