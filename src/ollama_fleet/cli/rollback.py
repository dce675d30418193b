"""`ollama-fleet rollback`: one host goes back to the release before."""

from __future__ import annotations

from pathlib import Path

import click

from ollama_fleet.cli.options import complete_names
from ollama_fleet.deploys.source import fleet_path, load_source


@click.command("rollback")
@click.argument("host", shell_complete=complete_names)
def command(host: str) -> None:
    """Let HOST go back to the release that it had before, with its unit and environment of then; models stay.

    The release is still there, so nothing is downloaded. What it leaves is kept in turn: a second rollback goes
    there again. fleet.yaml is not changed; until it is, drift tells the difference and the next apply undoes it.

    Example: ollama-fleet rollback gpu-01
    """
    path = fleet_path(Path())
    source = load_source(path)
    chosen = source.fleet.select([host])
    if len(chosen) != 1:
        raise click.ClickException(f"{host} is a group; name one host")
    (spec,) = chosen
    from ollama_fleet.deploys.rolling_back import RollbackFailed, roll_back  # patches sockets for gevent

    try:
        back = roll_back(source, path, spec)
    except RollbackFailed as error:
        raise click.ClickException(f"{spec.name}: {error}") from error
    click.echo(f"{spec.name}: went back to {back} with its environment; it serves")
    asked = spec.origin.get("release.version")
    if back != f"release {spec.release.version}":
        where = f"{asked}" if asked else path.name
        click.echo(f"{where} still asks for release {spec.release.version}: the next apply goes there again")
