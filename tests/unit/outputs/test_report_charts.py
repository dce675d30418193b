"""The charts of the page: the figures that `tune --json` and `bench --json` say, each at its place."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.deploys.keeping import runs_of_bench, runs_of_tune
from ollama_fleet.outputs.benching import bench_document
from ollama_fleet.outputs.report.charts import BOTTOM, LEFT, RIGHT, TOP, bench_chart, runs_of_host, tune_chart
from ollama_fleet.outputs.tuning import tune_document
from page.fleets import RUNS, SMALL, benched, tuned, write_page

NOTHING_WRONG: dict[str, Any] = {"ok": True, "error": None, "problems": ()}
KINDS = ("rtx-4060-ti-16gb",)
TUNE = tuned("gpu-02", "reasoner")
BENCH = benched("gpu-02", "reasoner", 1)[0]


class Tables(HTMLParser):
    """The rows of the tables below the charts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        self._cell = tag == "td"
        if self._cell:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "td"


def as_json(value: float | None) -> str:
    return "–" if value is None else json.dumps(value)


def test_figures_are_those_of_the_json(tmp_path: Path) -> None:
    # As `HostTuned` and `HostBenched` have it; to import these patches sockets, too late for a test.
    tuned_model = Tuned("reasoner", TUNE.base, 65, TUNE.steps, 60, 8192, kinds=KINDS)
    found: Any = SimpleNamespace(host="gpu-02", kinds=KINDS, tuned=(tuned_model,), **NOTHING_WRONG)
    one = SimpleNamespace(
        model="reasoner",
        label="reasoner",
        instance="",
        kinds=KINDS,
        base=BENCH.base,
        quantization="IQ3_M",
        num_ctx=8192,
        num_gpu=None,
        error=None,
        runs=BENCH.runs,
        predicted=(),
    )
    host = SimpleNamespace(host="gpu-02", release=BENCH.release, kinds=KINDS, benched=(one,), **NOTHING_WRONG)
    measured: Any = [host]
    runs = [*runs_of_tune(found, "0.32.15", Lock()), *runs_of_bench(measured, Lock())]

    rows = Tables(write_page(tmp_path / "page.html", SMALL, runs=runs).read_text()).rows

    for step in tune_document(found, "", None)["models"]["reasoner"]["steps"]:
        rates = (
            step[key] for key in ("tokens_per_second", "full_tokens_per_second", "prompt_tokens_per_second")
        )
        said = "holds" if step["held"] else step["reason"]
        assert [f"{step['num_gpu']} of 65", str(step["num_ctx"]), *map(as_json, rates), said] in rows
    for run in bench_document(measured)["hosts"]["gpu-02"]["models"]["reasoner"]["runs"]:
        series = (run[key] for key in ("prompt", "generation", "throughput"))
        medians = [as_json(None if one is None else one["median"]) for one in series]
        wanted = [
            BENCH.release,
            KINDS[0],
            "IQ3_M",
            "8192",
            "engine",
            f"{run['fill']} %",
            str(run["concurrency"]),
        ]
        assert [*wanted, *medians] in [row[1:] for row in rows]


def test_points_lie_where_their_figures_are() -> None:
    chart = tune_chart([TUNE])
    assert chart is not None
    (short, full) = chart.lines
    assert [point.x for point in short.points] == pytest.approx(
        [LEFT, LEFT + 310 * 30 / 65, LEFT + 310 * 60 / 65], abs=0.1
    )
    assert chart.up[-1].label == "24"
    for point, step in zip(short.points, TUNE.steps, strict=False):
        assert step.tokens_per_second is not None
        assert point.y == pytest.approx(BOTTOM + (TOP - BOTTOM) * step.tokens_per_second / 24, abs=0.1)
    assert all(low.y > high.y for low, high in zip(full.points, short.points, strict=True))  # slower is lower
    assert [(mark.at, mark.label) for mark in chart.marks] == [(RIGHT, "does not hold")]


def test_an_earlier_search_adds_what_it_tried_and_another_placement_does_not() -> None:
    earlier = TUNE.model_copy(update={"steps": TUNE.steps[:2]})
    later = TUNE.model_copy(update={"steps": TUNE.steps[2:]})
    upgraded = TUNE.model_copy(update={"release": "0.33.0", "steps": TUNE.steps[:1]})

    assert tune_chart([earlier, later]) == tune_chart([TUNE])
    chart = tune_chart([earlier, later, upgraded])
    assert chart is not None
    assert len(chart.rows) == 1


def test_a_change_of_release_is_marked_and_the_latest_runs_are_shown() -> None:
    chart = bench_chart(benched("gpu-02", "reasoner", 20))
    assert chart is not None
    assert chart.about.startswith("The last 12 of 20 runs")
    assert [mark.label for mark in chart.marks] == ["0.30.2", "0.32.15"]
    assert [line.label for line in chart.lines] == ["0 % fill", "50 % fill", "90 % fill"]
    assert [len(line.points) for line in chart.lines] == [12, 12, 12]
    assert chart.rows[0][0].startswith("2025-12-20")
    assert all(TOP <= point.y <= BOTTOM for line in chart.lines for point in line.points)


def test_each_host_has_its_own() -> None:
    assert [one.model for one in runs_of_host("gpu-02", RUNS)] == ["reasoner"]
    (other,) = runs_of_host("cpu-only", RUNS)
    assert (other.tune, other.bench is not None) == (None, True)
    assert runs_of_host("gpu-01", RUNS) == ()


def test_nothing_that_held_is_no_reason_to_fail() -> None:
    chart = tune_chart([TUNE.model_copy(update={"steps": TUNE.steps[3:]})])
    assert chart is not None
    assert chart.lines == ()
    assert chart.rows[0][-1] == "out of memory while loading"


RATE = st.none() | st.floats(1e-3, 1e6, allow_nan=False)
STEP = st.builds(
    Step,
    st.integers(0, 200),
    st.integers(1, 1 << 20),
    st.booleans(),
    st.text(),
    st.none(),
    RATE,
    RATE,
    RATE,
    st.just(1.0),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=12))
def test_whatever_was_measured_lies_in_the_field(steps: list[Step]) -> None:
    chart = tune_chart([TUNE.model_copy(update={"steps": tuple(steps)})])
    assert chart is not None
    assert len(chart.rows) == len({(step.num_gpu, step.num_ctx) for step in steps})
    for point in (point for line in chart.lines for point in line.points):
        assert LEFT <= point.x <= RIGHT
        assert TOP <= point.y <= BOTTOM
