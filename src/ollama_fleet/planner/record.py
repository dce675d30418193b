"""What an apply leaves about itself on a host: one line of JSON, bounded, without values, which may be secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ollama_fleet.planner.difference import Difference, Item

Outcome = Literal["started", "ok", "failed", "interrupted"]
"""`started` until the end is written. Whoever reads it calls it `interrupted` where nobody is at work any more."""

VERSION = 1
KEPT = 100
"""Records on a host; the oldest go."""
LARGEST = 8192
"""Bytes of one record; changes beyond are counted, not named."""
LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class Change:
    """An item that differed, and in what: no values."""

    kind: str
    name: str
    aspects: tuple[str, ...]

    @classmethod
    def of(cls, item: Item, found: Sequence[Difference]) -> Change:
        """Take the words of a plan."""
        return cls(item.kind, item.name, tuple(dict.fromkeys(difference.aspect for difference in found)))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an apply came from."""

    who: str
    """`user@machine` that deployed."""
    commit: str | None
    """The folder's commit, where it is a git repository."""
    dirty: bool | None
    """Whether files there differed from that commit."""
    fleet: str | None
    """sha256 of fleet.yaml."""
    lock: str | None
    """sha256 of fleet.lock."""


@dataclass(frozen=True, slots=True)
class Record:
    """One apply on one host. Times are UTC, `2026-11-25T17:43:14Z`."""

    id: str
    """Sorts by time; the name of its file."""
    started: str
    origin: Origin
    release: str
    """The version that was asked for."""
    changes: tuple[Change, ...]
    left_out: int = 0
    """Changes that are not named, to keep the record small."""
    outcome: Outcome = "started"
    ended: str | None = None
    reason: str | None = None
    """Why it failed: the step and what it said, one line."""

    def finished(self, outcome: Outcome, ended: str, reason: str | None = None) -> Record:
        """The record of the same apply once it is over."""
        short = None if reason is None else " ".join(reason.split())[:LONGEST_REASON]
        return replace(self, outcome=outcome, ended=ended, reason=short)

    def line(self) -> str:
        """One line of JSON of at most `LARGEST` bytes."""
        text = self._json()
        shown = self
        while len(text.encode()) > LARGEST and shown.changes:
            kept = shown.changes[: len(shown.changes) // 2]
            shown = replace(shown, changes=kept, left_out=len(self.changes) + self.left_out - len(kept))
            text = shown._json()
        return text

    def _json(self) -> str:
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":"))

    def document(self) -> dict[str, Any]:
        """As JSON, version 1."""
        origin = self.origin
        return {
            "version": VERSION,
            "id": self.id,
            "started": self.started,
            "ended": self.ended,
            "outcome": self.outcome,
            "reason": self.reason,
            "who": origin.who,
            "commit": origin.commit,
            "dirty": origin.dirty,
            "fleet_sha256": origin.fleet,
            "lock_sha256": origin.lock,
            "release": self.release,
            "changes": [
                {"kind": change.kind, "name": change.name, "aspects": list(change.aspects)}
                for change in self.changes
            ],
            "left_out": self.left_out,
        }

    @classmethod
    def parse(cls, line: str) -> Record:
        """Read a line. Raises ValueError for what is no record of a version that is known."""
        try:
            raw = json.loads(line)
            if raw["version"] != VERSION or raw["outcome"] not in ("started", "ok", "failed"):
                raise ValueError(f"version {raw['version']} of the record is not known")
            return cls(
                id=str(raw["id"]),
                started=str(raw["started"]),
                origin=Origin(
                    str(raw["who"]), raw["commit"], raw["dirty"], raw["fleet_sha256"], raw["lock_sha256"]
                ),
                release=str(raw["release"]),
                changes=tuple(
                    Change(str(change["kind"]), str(change["name"]), tuple(map(str, change["aspects"])))
                    for change in raw["changes"]
                ),
                left_out=int(raw["left_out"]),
                outcome=raw["outcome"],
                ended=raw["ended"],
                reason=raw["reason"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record: {error}") from error
