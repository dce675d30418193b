"""Medians, spreads, and what counts as a regression."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.checks.bench_figures import LEAST_NOISE, Run, Series, compare
from ollama_fleet.outputs.benching import read_runs

rates = st.lists(st.floats(0.5, 5000), min_size=1, max_size=20)


def run(values: list[float], fill: int = 50) -> Run:
    series = Series.of(values)
    return Run(fill, 1, series, series, None)


def test_a_series_is_its_median_and_quartiles() -> None:
    series = Series.of([10.0, 12.0, 11.0, 30.0, 10.5])
    assert series == Series(11.0, 10.5, 12.0, 5)
    assert series is not None
    assert series.spread == pytest.approx(1.5 / 11)
    assert Series.of([]) is None


@pytest.mark.parametrize(
    ("before", "now", "regressed"),
    [
        ([40.0] * 5, [30.0] * 5, True),
        ([40.0] * 5, [38.5] * 5, False),  # within the least noise
        ([40.0] * 5, [50.0] * 5, False),  # faster
        ([30.0, 40.0, 50.0], [30.0, 33.0, 50.0], False),  # within the spread of the runs
        ([40.0, 40.1, 40.2], [36.0, 36.1, 36.2], True),
    ],
)
def test_only_what_is_slower_beyond_the_noise_is_a_regression(
    before: list[float], now: list[float], regressed: bool
) -> None:
    found = list(compare("h: m", [run(before)], [run(now)]))
    assert {one.rate for one in found} == {"prompt", "generation"}
    assert {one.regressed for one in found} == {regressed}
    assert all("tokens/s" in str(one) and "noise" in str(one) for one in found)


def test_patterns_that_only_one_run_has_are_not_compared() -> None:
    assert list(compare("h: m", [run([40.0], fill=0)], [run([40.0], fill=90)])) == []


@given(rates)
def test_a_run_never_regresses_against_itself_and_survives_json(values: list[float]) -> None:
    one = run(values)
    document = {
        "version": 1,
        "hosts": {"h": {"models": {"m": {"runs": [{**one.to_dict(), "predicted": None}]}}}},
    }
    (read,) = read_runs(json.loads(json.dumps(document))).values()
    assert read == [one]
    assert not any(compared.regressed for compared in compare("x", read, [one]))
    assert all(compared.noise >= LEAST_NOISE for compared in compare("x", read, [one]))


@pytest.mark.parametrize(
    "document", [[], {}, {"version": 2}, {"version": 1}, {"version": 1, "hosts": {"h": 1}}]
)
def test_what_is_no_earlier_run_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="it is not"):
        read_runs(document)
