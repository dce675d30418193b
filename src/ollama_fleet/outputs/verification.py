"""What a verification found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table

from ollama_fleet.checks.evidence import Failure
from ollama_fleet.checks.verdict import HostVerdict, MemoryRow, PlacementVerdict

MIB = 2**20
TERMS = ("weights", "kv", "compute", "total")


def verification_document(found: Iterable[HostVerdict]) -> dict[str, Any]:
    """Return the JSON of `verify`, version 1; sizes in bytes, times in seconds, null for what nobody knows."""
    return {"version": 1, "hosts": {one.host: _host(one) for one in found}}


def _host(one: HostVerdict) -> dict[str, Any]:
    return {
        "ok": one.ok,
        "depth": one.depth,
        "failures": _failures(one.failures),
        "placements": {placement.name: _placement(placement) for placement in one.placements},
        "outside": list(one.outside),
        "remarks": list(one.remarks),
        "exposed": [
            {"check": exposed.check, "text": exposed.text, "remedy": exposed.remedy}
            for exposed in one.exposed
        ],
    }


def _failures(found: Iterable[Failure]) -> list[dict[str, str]]:
    return [{"check": failure.check, "text": failure.text} for failure in found]


def _placement(one: PlacementVerdict) -> dict[str, Any]:
    seen, answer = one.seen, one.seen.answer
    planned = seen.estimate
    return {
        "ok": not one.failures,
        "how": seen.how,
        "layers": {
            "total": None if seen.log is None else seen.log.layers,
            "offloaded": None if seen.log is None else seen.log.offloaded,
            "overflowing": None if seen.log is None else seen.log.overflowing,
            "planned": None if planned is None else planned.layers_offloaded,
        },
        "gpu_percent": seen.percent,
        "num_ctx": None if seen.loaded is None else seen.loaded.context_length,
        "tokens_per_second": None if answer is None else answer.tokens_per_second,
        "load_seconds": None if answer is None else answer.load_seconds,
        "size": None if seen.loaded is None else seen.loaded.size,
        "size_vram": None if seen.loaded is None else seen.loaded.size_vram,
        "device_memory": {"before": seen.used_before, "after": seen.used},
        "memory": [_row(row) for row in one.memory],
        "failures": _failures(one.failures),
        "remarks": list(one.remarks),
    }


def _row(row: MemoryRow) -> dict[str, Any]:
    return {"place": row.place, "measured": dict(row.measured), "predicted": dict(row.predicted)}


def headline(one: HostVerdict) -> str:
    """One line: the host, and whether it is right."""
    count = len(one.all_failures)
    if not count:
        return f"{one.host}: right ({one.depth}). {one.summary}"
    return f"{one.host}: {count} thing{'s' if count > 1 else ''} wrong ({one.depth})"


def lines(one: HostVerdict) -> Iterator[str]:
    """What is wrong, then what was and could not be looked at."""
    for failure in one.all_failures:
        yield f"wrong: {failure}"
    for placement in one.placements:
        yield f"{placement.name}: {_words(placement)}"
        for remark in placement.remarks:
            yield f"{placement.name}: {remark}"
    yield from one.remarks
    yield from one.outside
    for exposed in one.exposed:
        yield f"exposed: {exposed.text}; {exposed.remedy}"


def _words(one: PlacementVerdict) -> str:
    seen = one.seen
    if seen.answer is None:
        return "no answer"
    words = ["in memory already" if seen.how == "resident" else f"loaded in {seen.answer.load_seconds:.1f} s"]
    if seen.log is not None and seen.log.layers is not None:
        words.append(f"{seen.log.offloaded} of {seen.log.layers} layers on GPUs")
    if seen.percent is not None:
        words.append(f"{seen.percent} % GPU")
    if seen.answer.width:
        words.append(f"vectors of {seen.answer.width}")
    if seen.answer.tokens_per_second is not None:
        words.append(f"{seen.answer.tokens_per_second:.2f} tokens/s")
    if seen.grown is not None:
        words.append(f"the devices' memory grew by {_mib(max(seen.grown, 0))} MiB")
    return ", ".join(words)


def memory_table(one: HostVerdict) -> Table | None:
    """Measured and predicted memory, term by term; None where nothing is known of any placement."""
    table = Table("MiB, measured / predicted", "", *TERMS, box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for placement in one.placements:
        for row in placement.memory:
            cells = (f"{_cell(row.measured, term)} / {_cell(row.predicted, term)}" for term in TERMS)
            table.add_row(placement.name, row.place, *cells)
    return table if table.row_count else None


def _cell(terms: Mapping[str, int], term: str) -> str:
    return _mib(terms[term]) if term in terms else "?"


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f}".replace(",", "\u2009")
