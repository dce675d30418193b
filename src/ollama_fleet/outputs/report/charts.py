"""What `tune` and `bench` measured, as charts: where each point lies, and the figures beside it as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ollama_fleet.checks.bench_figures import Series
from ollama_fleet.checks.kept_runs import KeptRun

LEFT, RIGHT, TOP, BOTTOM = 40.0, 350.0, 16.0, 120.0
"""Where the field of a chart lies, in units of its drawing."""
MOST_RUNS = 12
"""The latest of `bench` that are shown."""
MOST_FILLS = 4
"""Lines of one chart."""
_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)
"""Times a power of ten: where an axis may end."""
TUNE_HEAD = ("num_gpu", "num_ctx", "tokens/s", "full context", "prompt", "")
BENCH_HEAD = (
    *("time", "release", "GPUs", "quantization", "num_ctx", "num_gpu"),
    *("fill", "at once", "prompt tokens/s", "tokens/s", "all together"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a chart and what it stands for, in words; `low` and `high` are the ends of its spread."""

    x: float
    y: float
    words: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of figure."""

    label: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """As `points` of a polyline."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing. `marks` are places on the horizontal axis that something is said of."""

    title: str
    about: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ModelRuns:
    """What was measured of one model on one host."""

    model: str
    tune: Chart | None
    bench: Chart | None


def runs_of_host(host: str, runs: Iterable[KeptRun]) -> tuple[ModelRuns, ...]:
    """The charts of a host's models, in the order in which they were first measured."""
    by_model: dict[str, list[KeptRun]] = {}
    for run in runs:
        if run.host == host:
            by_model.setdefault(run.model, []).append(run)
    return tuple(
        ModelRuns(
            model,
            tune_chart([run for run in found if run.kind == "tune"]),
            bench_chart([run for run in found if run.kind == "bench"]),
        )
        for model, found in by_model.items()
    )


def tune_chart(runs: Sequence[KeptRun]) -> Chart | None:
    """`num_gpu` against tokens per second: the last search, with what earlier ones of the same placement tried."""
    if not runs:
        return None
    last = runs[-1]
    alike = [run for run in runs if (run.base, run.release, run.gpus) == (last.base, last.release, last.gpus)]
    steps = {(step.num_ctx, step.num_gpu): step for run in alike for step in run.steps}
    ordered = [steps[setting] for setting in sorted(steps)]
    layers = max([last.layers or 1, *(step.num_gpu for step in ordered)])
    rates = [
        rate for step in ordered for rate in (step.tokens_per_second, step.full_tokens_per_second) if rate
    ]
    top = _round_up(max(rates, default=1.0))

    def across(num_gpu: int) -> float:
        return _between(LEFT, RIGHT, num_gpu / layers)

    lines = []
    for label, name in (("short question", "tokens_per_second"), ("full context", "full_tokens_per_second")):
        points = [
            Point(across(step.num_gpu), _up(rate, top), f"num_gpu {step.num_gpu}: {rate} tokens/s, {label}")
            for step in ordered
            if (rate := getattr(step, name)) is not None
        ]
        lines.append(Line(label, tuple(sorted(points, key=lambda point: point.x))))
    where = f"{last.quantization or last.base} on {_gpus(last)}, Ollama {last.release}"
    return Chart(
        title=f"Tokens/s by num_gpu: {last.model}",
        about=f"Tried by tune, {_day(last.time)}: {where}",
        lines=tuple(line for line in lines if line.points),
        across=tuple(
            Tick(across(number), f"num_gpu {number}" if number == layers else str(number))
            for number in sorted({0, layers // 2, layers})
        ),
        up=_scale(top),
        marks=tuple(Tick(across(step.num_gpu), "does not hold") for step in ordered if not step.held),
        head=TUNE_HEAD,
        rows=tuple(
            (
                f"{step.num_gpu} of {layers}",
                str(step.num_ctx),
                _figure(step.tokens_per_second),
                _figure(step.full_tokens_per_second),
                _figure(step.prompt_tokens_per_second),
                "holds" if step.held else step.reason,
            )
            for step in ordered
        ),
    )


def bench_chart(runs: Sequence[KeptRun]) -> Chart | None:
    """How fast answers were written, run by run, one line for each fill of the context; one request at a time."""
    shown = runs[-MOST_RUNS:]
    if not shown:
        return None
    places = [
        _between(LEFT, RIGHT, place / (len(shown) - 1) if len(shown) > 1 else 0.5)
        for place in range(len(shown))
    ]
    alone: dict[int, list[tuple[float, KeptRun, Series]]] = {}
    for x, run in zip(places, shown, strict=True):
        for pattern in run.runs:
            if pattern.concurrency == 1 and pattern.generation is not None:
                alone.setdefault(pattern.fill, []).append((x, run, pattern.generation))
    top = _round_up(max((one.high for found in alone.values() for _, _, one in found), default=1.0))
    lines = [
        Line(
            f"{fill} % fill",
            tuple(
                Point(
                    x,
                    _up(one.median, top),
                    f"{_day(run.time)}, Ollama {run.release}: {one.median} tokens/s at {fill} % fill",
                    _up(one.low, top),
                    _up(one.high, top),
                )
                for x, run, one in found
            ),
        )
        for fill, found in sorted(alone.items())[:MOST_FILLS]
    ]
    marks, before = [], None
    for x, run in zip(places, shown, strict=True):
        if run.release != before:
            marks.append(Tick(x, run.release))
        before = run.release
    return Chart(
        title=f"Tokens/s by bench: {shown[-1].model}",
        about=f"{_runs_words(len(runs), len(shown))}: median and quartiles of answers asked for one at a time",
        lines=tuple(lines),
        across=tuple(Tick(places[place], _day(shown[place].time)) for place in sorted({0, len(shown) - 1})),
        up=_scale(top),
        marks=tuple(marks),
        head=BENCH_HEAD,
        rows=tuple(
            (
                run.time.replace("T", " ").replace("Z", ""),
                run.release,
                _gpus(run),
                run.quantization or run.base,
                "–" if run.num_ctx is None else str(run.num_ctx),
                "engine" if run.num_gpu is None else str(run.num_gpu),
                f"{pattern.fill} %",
                str(pattern.concurrency),
                *(
                    _figure(None if series is None else series.median)
                    for series in (pattern.prompt, pattern.generation, pattern.throughput)
                ),
            )
            for run in reversed(shown)
            for pattern in run.runs
        ),
    )


def _runs_words(count: int, shown: int) -> str:
    if count > shown:
        return f"The last {shown} of {count} runs"
    return "One run" if count == 1 else f"{count} runs"


def _gpus(run: KeptRun) -> str:
    return ", ".join(run.gpus) or "CPU"


def _day(time: str) -> str:
    return time[:10]


def _figure(value: float | None) -> str:
    """As `--json` has it."""
    return "–" if value is None else str(value)


def _between(start: float, end: float, share: float) -> float:
    return round(start + (end - start) * share, 1)


def _up(value: float, top: float) -> float:
    return _between(BOTTOM, TOP, min(value / top, 1.0))


def _scale(top: float) -> tuple[Tick, ...]:
    return tuple(Tick(_up(value, top), f"{value:g}") for value in (0.0, top / 2, top))


def _round_up(value: float) -> float:
    """The next round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _ROUND if step * power >= value * 0.999)
