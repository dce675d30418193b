"""`ollama-fleet validate`: every mistake of a fleet file at once, with line and column."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import fleet_argument, json_option
from ollama_fleet.deploys.source import load_fleet
from ollama_fleet.spec.errors import SpecErrors


@click.command("validate")
@fleet_argument
@json_option
def command(file: Path, as_json: bool) -> None:
    """Check FILE (fleet.yaml) without touching any host.

    Example: ollama-fleet validate fleet.yaml
    """
    try:
        fleet = load_fleet(file)
    except SpecErrors as error:
        if not as_json:
            raise
        click.echo(json.dumps(error.as_json(), ensure_ascii=False, indent=2))
        raise click.exceptions.Exit(1) from None
    if as_json:
        click.echo("[]")
    else:
        click.echo(f"{file}: nothing wrong (hosts: {len(fleet.hosts)}, models: {len(fleet.models)})")
