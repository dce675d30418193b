"""`ollama-fleet lock`: resolve every name to digests and write fleet.lock, or check it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ollama_fleet.artifacts.lock import Lock, LockError
from ollama_fleet.artifacts.lock_changes import lock_changes
from ollama_fleet.artifacts.locking import LockingError
from ollama_fleet.cli.options import json_option
from ollama_fleet.deploys.lock_check import check_lock
from ollama_fleet.deploys.locking import make_lock
from ollama_fleet.deploys.source import LOCK_FILE, fleet_path, load_fleet
from ollama_fleet.outputs import locks
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.fleet import Fleet

EXIT = {"locked": 0, "stale": 1, "moved": 2}


@click.command("lock")
@click.argument("names", nargs=-1)
@click.option(
    "--update", is_flag=True, help="Resolve NAMES anew, or everything: releases, models of fleet.yaml, bases."
)
@click.option("--check", is_flag=True, help="Change nothing; say whether fleet.lock is complete and current.")
@click.option(
    "--offline", is_flag=True, help="With --check: contact nobody, so that only completeness counts."
)
@json_option
def command(names: tuple[str, ...], update: bool, check: bool, offline: bool, as_json: bool) -> None:
    """Resolve the releases and models of fleet.yaml, and write fleet.lock beside it.

    Releases come from their checksum file, models from their registry or, for a GGUF, from the file itself. What is
    locked already stays, whatever upstream serves today, unless --update asks for it; what is missing is added,
    what nothing needs any more is dropped. Commit fleet.lock: an apply uses only what is in it.

    Exit code of --check: 0 all is locked and upstream serves the same (what cannot be reached is only told), 1 the
    lock is not what fleet.yaml needs, 2 it is, but upstream has moved on.

    Example: ollama-fleet lock --update reasoner
    """
    if names and not update:
        raise click.ClickException(f"{names[0]}: names are for --update; for another file set OLLAMA_FLEET")
    if check and update:
        raise click.ClickException("--check changes nothing and --update does: give one of them")
    if offline and not check:
        raise click.ClickException(
            "--offline is for --check; without it, what is missing has to be looked up"
        )
    fleet_file = fleet_path(Path())
    fleet, path = load_fleet(fleet_file), fleet_file.with_name(LOCK_FILE)
    try:
        if check:
            _check(fleet, path, offline, as_json)
        else:
            _lock(fleet, path, names if update else None, as_json)
    except (LockingError, PlanError) as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:
        raise  # whoever read the output has gone; that is no mistake in the file
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def _lock(fleet: Fleet, path: Path, update: tuple[str, ...] | None, as_json: bool) -> None:
    before = _before(path, update)
    lock = make_lock(fleet, before, update, told=lambda line: click.echo(line, err=True))
    changes = list(lock_changes(before, lock))
    changed = lock.save(path)
    if as_json:
        _print(locks.changes_document(str(path), changes))
        return
    for line in locks.change_lines(changes):
        click.echo(line)
    click.echo(f"{path}: {'written' if changed else 'unchanged'}")


def _before(path: Path, update: tuple[str, ...] | None) -> Lock:
    """The lock so far; one that cannot be read is of no interest where everything is resolved anew."""
    if not path.exists():
        return Lock()
    try:
        return Lock.load(path)
    except LockError:
        if update == ():
            return Lock()
        raise


def _check(fleet: Fleet, path: Path, offline: bool, as_json: bool) -> None:
    findings = check_lock(fleet, Lock.load(path), offline=offline)
    status = locks.status_of(findings)
    if as_json:
        _print(locks.check_document(str(path), findings, offline=offline))
    else:
        for line in locks.finding_lines(findings):
            click.echo(line)
        told = {
            "locked": "complete" if offline else "complete and current",
            "stale": "not what fleet.yaml needs",
            "moved": "complete, but upstream has moved",
        }
        click.echo(f"{path}: {told[status]}")
    raise click.exceptions.Exit(EXIT[status])


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
