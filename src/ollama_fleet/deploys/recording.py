"""The record of an apply before it begins: what is to change, and where that came from."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from functools import lru_cache
from pathlib import Path

from ollama_fleet.deploys.source import LOCK_FILE, Source
from ollama_fleet.operations.host_lock import deployer
from ollama_fleet.operations.record import Pending, now
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.record import Change, Origin, Record
from ollama_fleet.planner.state import HostState

GIT_WITHIN = 10.0
"""Seconds for git to answer."""


def pending_record(source: Source, plan: HostPlan, state: HostState) -> Pending:
    """Return the record of what an apply of this plan is about to do."""
    changes = tuple(Change.of(item, found) for item, found in plan.differences(state))
    record = _begun(source, plan.release.version, changes)
    hidden = tuple(value.get_secret_value() for value in plan.service.secrets.values())
    return Pending(record, plan.layout, bool(changes) or plan.restarts, hidden)


def rollback_record(source: Source, what: str, version: str) -> Record:
    """Return the record of a host's way back by hand.

    Args:
        source: the fleet.
        what: what it goes back to, in words.
        version: of the release there; empty where somebody else installed it.
    """
    return _begun(source, version or "of before", (Change("rollback", what, ("release", "environment")),))


def _begun(source: Source, version: str, changes: tuple[Change, ...]) -> Record:
    started = now()
    return Record(
        id=f"{started.replace('-', '').replace(':', '')}-{secrets.token_hex(3)}",
        started=started,
        origin=origin_of(Path(source.fleet.file)),
        release=version,
        changes=changes,
    )


@lru_cache(maxsize=4)
def origin_of(fleet: Path) -> Origin:
    """Return who applies which state of a repository; what cannot be told is None.

    Args:
        fleet: path of fleet.yaml.
    """
    folder = fleet.absolute().parent
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    changed = None if commit is None else _git(folder, "status", "--porcelain", "--", ".")
    return Origin(
        who=deployer(),
        commit=commit,
        dirty=None if changed is None else bool(changed),
        fleet=_sha256(fleet),
        lock=_sha256(fleet.with_name(LOCK_FILE)),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, or no repository that it trusts."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=GIT_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
