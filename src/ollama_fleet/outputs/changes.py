"""What an apply would change, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ollama_fleet.deploys.surveyed import Surveyed


def changes_document(found: Iterable[Surveyed]) -> dict[str, Any]:
    """Return the JSON of `drift`, version 1: per host its items with aspect, wanted and actual."""
    return {"version": 1, "hosts": {item.host: _host(item) for item in found}}


def _host(item: Surveyed) -> dict[str, Any]:
    if item.plan is None or item.state is None:
        return {"error": item.error, "changes": [], "restarts": False, "notes": []}
    changes = [
        {
            "kind": changed.kind,
            "name": changed.name,
            "differences": [
                {"aspect": difference.aspect, "wanted": difference.wanted, "actual": difference.actual}
                for difference in differences
            ],
        }
        for changed, differences in item.plan.differences(item.state)
    ]
    return {"error": None, "changes": changes, "restarts": item.plan.restarts, "notes": list(item.plan.told)}
