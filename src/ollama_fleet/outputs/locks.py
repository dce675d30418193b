"""What locking changed, and how a lock stands: lines and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ollama_fleet.artifacts.lock_changes import LockChange
from ollama_fleet.deploys.lock_check import STALE, Finding
from ollama_fleet.outputs.sizes import gib

RENEW = "run `ollama-fleet lock`"


def change_lines(changes: Iterable[LockChange]) -> Iterator[str]:
    """Yield a line for each thing that is not as it was."""
    for item in changes:
        if item.change == "added" and item.after:
            yield f"added {item.kind} {item.name}: {item.after.digest} ({gib(item.after.size)})"
        elif item.change == "removed":
            yield f"removed {item.kind} {item.name}: nothing needs it any more"
        elif item.change == "updated" and item.before and item.after:
            same = item.before.digest == item.after.digest
            what = "same digest, other details" if same else f"{item.before.digest} → {item.after.digest}"
            yield f"updated {item.kind} {item.name}: {what}"


def changes_document(file: str, changes: Sequence[LockChange]) -> dict[str, Any]:
    """Return the JSON of `lock`, version 1."""
    entries = [
        {
            "kind": item.kind,
            "name": item.name,
            "change": item.change,
            "before": item.before.digest if item.before else None,
            "after": item.after.digest if item.after else None,
            "size": item.after.size if item.after else None,
        }
        for item in changes
    ]
    changed = any(item.change != "kept" for item in changes)
    return {"version": 1, "file": file, "status": "changed" if changed else "unchanged", "entries": entries}


def status_of(findings: Iterable[Finding]) -> str:
    """`stale` where the lock is not what fleet.yaml needs, else `moved` where upstream is not what is locked."""
    states = {finding.state for finding in findings}
    return "stale" if states & STALE else "moved" if "moved" in states else "locked"


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a line for each thing that is not simply locked."""
    for it in findings:
        what = f"{it.kind} {it.name}"
        match it.state:
            case "missing":
                yield f"{what}: fleet.yaml needs it and it is not locked; {RENEW}"
            case "unneeded":
                yield f"{what}: it is locked and fleet.yaml does not need it; {RENEW}"
            case "stale":
                yield f"{what}: {it.reason}; {RENEW}"
            case "moved":
                now = f"upstream has {it.found}" if it.found else it.reason
                name = it.name.split(" ")[0]
                yield (
                    f"{what}: {now}, locked is {it.locked}; "
                    f"if the change is wanted, run `ollama-fleet lock --update {name}`"
                )
            case "unchecked":
                yield f"note: {what}: could not be held against upstream: {it.reason}"


def check_document(file: str, findings: Sequence[Finding], *, offline: bool) -> dict[str, Any]:
    """Return the JSON of `lock --check`, version 1."""
    entries = [
        {
            "kind": it.kind,
            "name": it.name,
            "state": it.state,
            "locked": it.locked,
            "found": it.found,
            "reason": it.reason or None,
        }
        for it in findings
    ]
    return {
        "version": 1,
        "file": file,
        "status": status_of(findings),
        "offline": offline,
        "entries": entries,
    }
