"""Records of applies for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ollama_fleet.planner.record import Record

if TYPE_CHECKING:  # importing it patches sockets for gevent
    from ollama_fleet.deploys.histories import HostHistory


def history_document(found: Iterable[HostHistory]) -> dict[str, Any]:
    """Return the JSON of `history`, version 1."""
    return {
        "version": 1,
        "hosts": {
            item.host: {"error": item.error, "records": [_record(record) for record in item.records]}
            for item in found
        },
    }


def _record(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.document().items() if key != "version"}


def history_lines(record: Record) -> Iterator[str]:
    """Yield the lines about one apply: when, how it ended and from what, then what it changed."""
    origin = record.origin
    commit = "no commit" if origin.commit is None else f"commit {origin.commit[:12]}"
    dirty = ", changed since" if origin.dirty else ""
    when = record.started.replace("T", " ").replace("Z", " UTC")
    yield f"{when} {record.outcome}, by {origin.who}, {commit}{dirty}, release {record.release}"
    if record.reason:
        yield f"  {record.reason}"
    for change in record.changes:
        yield f"  {change.kind} {change.name}: {', '.join(change.aspects)}"
    if record.left_out:
        yield f"  and {record.left_out} more"
    if not record.changes and record.outcome == "ok":
        yield "  a restart of the service"
