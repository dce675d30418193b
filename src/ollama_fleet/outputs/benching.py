"""What a benchmark measured, for people and for programs, and how it compares with an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ollama_fleet.checks.bench_figures import Compared, Run, Series, compare

if TYPE_CHECKING:  # importing it patches sockets for gevent
    from ollama_fleet.deploys.benching import Benched, HostBenched


def bench_document(found: Iterable[HostBenched]) -> dict[str, Any]:
    """Return the JSON of `bench`, version 1: rates in tokens per second, null for what was not measured."""
    return {"version": 1, "hosts": {one.host: _host(one) for one in found}}


def _host(one: HostBenched) -> dict[str, Any]:
    return {
        "release": one.release,
        "gpus": list(one.kinds),
        "error": one.error,
        "problems": list(one.problems),
        "models": {placement.label: _placement(placement) for placement in one.benched},
    }


def _placement(one: Benched) -> dict[str, Any]:
    predicted = {fill: [round(rate.low, 2), round(rate.high, 2)] for fill, rate in one.predicted}
    return {
        "instance": one.instance,
        "gpus": list(one.kinds),
        "base": one.base,
        "quantization": one.quantization,
        "num_ctx": one.num_ctx,
        "num_gpu": one.num_gpu,
        "error": one.error,
        "runs": [{**run.to_dict(), "predicted": predicted.get(run.fill)} for run in one.runs],
    }


def read_runs(document: object) -> dict[tuple[str, str], list[Run]]:
    """Return the runs of an earlier document, by host and model.

    Raises:
        ValueError: it is no document of `bench --json` in this version; one line.
    """
    try:
        if not isinstance(document, Mapping) or document["version"] != 1:
            raise ValueError("it is not of version 1")
        return {
            (host, model): [Run.from_dict(run) for run in placement["runs"]]
            for host, entry in document["hosts"].items()
            for model, placement in entry["models"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not what `bench --json` writes ({error})") from None


def compared(
    found: Iterable[HostBenched], earlier: Mapping[tuple[str, str], list[Run]]
) -> Iterator[Compared]:
    """Every rate that was measured both times."""
    for host in found:
        for one in host.benched:
            before = earlier.get((host.host, one.label))
            if before is not None:
                yield from compare(f"{host.host}: {one.label}", before, one.runs)


def notes(found: Iterable[HostBenched], differences: Iterable[Compared]) -> Iterator[str]:
    """What has changed beyond the noise, and what went wrong."""
    for one in differences:
        if abs(one.change) > one.noise:
            yield f"{'REGRESSION ' if one.regressed else ''}{one}"
    for host in found:
        yield from (f"{host.host}: {line}" for line in (host.error, *host.problems) if line)
        yield from (f"{host.host}: {one.label}: {one.error}" for one in host.benched if one.error)


def run_line(host: str, model: str, run: Run) -> str:
    """One run as it is made."""
    rate = "" if run.generation is None else f": {run.generation.median:g} tokens/s"
    return f"{host}: {model} at {run.fill} % fill, {run.concurrency} at once{rate}"


def bench_table(found: Iterable[HostBenched]) -> Table:
    """One line per load pattern of a placement: medians, with the quartiles beside them."""
    table = Table(
        "host",
        "model",
        "fill",
        "at once",
        "prompt tokens/s",
        "tokens/s",
        "all together",
        "predicted",
        box=None,
        pad_edge=False,
    )
    for host in found:
        for one in host.benched:
            for run in one.runs:
                table.add_row(
                    host.host,
                    one.label,
                    f"{run.fill} %",
                    str(run.concurrency),
                    _series(run.prompt),
                    _series(run.generation),
                    _series(run.throughput),
                    _predicted(one, run),
                )
    return table


def _series(series: Series | None) -> str:
    return "–" if series is None else f"{series.median:.4g} ({series.low:.4g}–{series.high:.4g})"


def _predicted(one: Benched, run: Run) -> str:
    rate = one.expected(run.fill)
    if rate is None or run.concurrency != 1 or run.generation is None:
        return ""
    where = (
        "within"
        if run.generation.median in rate
        else "above"
        if run.generation.median > rate.high
        else "below"
    )
    return f"{rate.low:.0f}–{rate.high:.0f}: {where}"
