"""What an apply would change, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from ollama_fleet.deploys.surveyed import Surveyed

Status = Literal["clean", "drifted", "error"]


def status_of(found: Iterable[Surveyed]) -> Status:
    """How hosts stand: an error outweighs drift, since nobody knows what else is there."""
    statuses = {_status(item) for item in found}
    return "error" if "error" in statuses else "drifted" if "drifted" in statuses else "clean"


def changes_document(found: Iterable[Surveyed]) -> dict[str, Any]:
    """Return the JSON of `drift`, version 1: per host its items with aspect, expected and actual."""
    surveyed = list(found)
    return {
        "version": 1,
        "status": status_of(surveyed),
        "hosts": {item.host: _host(item) for item in surveyed},
    }


def _status(item: Surveyed) -> Status:
    if item.error or item.plan is None or item.state is None:
        return "error"
    return "drifted" if item.plan.differences(item.state) else "clean"


def _host(item: Surveyed) -> dict[str, Any]:
    about: dict[str, Any] = {"status": _status(item), "error": item.error}
    if item.plan is None or item.state is None:
        return {**about, "changes": [], "restarts": False, "notes": []}
    changes = [
        {
            "kind": changed.kind,
            "name": changed.name,
            "differences": [
                {"aspect": difference.aspect, "expected": difference.wanted, "actual": difference.actual}
                for difference in differences
            ],
        }
        for changed, differences in item.plan.differences(item.state)
    ]
    return {**about, "changes": changes, "restarts": item.plan.restarts, "notes": list(item.plan.told)}
