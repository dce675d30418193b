"""`ollama-fleet lock`: resolve every name to digests and write fleet.lock."""

from __future__ import annotations

from pathlib import Path

import click

from ollama_fleet.artifacts.locking import LockingError
from ollama_fleet.cli.options import fleet_argument
from ollama_fleet.deploys.locking import make_lock
from ollama_fleet.deploys.source import LOCK_FILE, load_fleet
from ollama_fleet.planner.errors import PlanError


@click.command("lock")
@fleet_argument
def command(file: Path) -> None:
    """Resolve the releases and models of FILE (fleet.yaml) and write fleet.lock beside it.

    Releases come from their checksum file, models from their registry or, for a GGUF, from the file itself.
    Commit fleet.lock: an apply uses only what is in it.

    Example: ollama-fleet lock
    """
    fleet = load_fleet(file)
    try:
        lock = make_lock(fleet, told=lambda line: click.echo(line, err=True))
        path = file.with_name(LOCK_FILE)
        changed = lock.save(path)
    except (LockingError, PlanError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{file.with_name(LOCK_FILE)}: {error.strerror}") from error
    click.echo(f"{path}: {'written' if changed else 'unchanged'}")
