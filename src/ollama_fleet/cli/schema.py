"""`ollama-fleet schema`: JSON Schemas of fleet.yaml and of what `--json` prints."""

from __future__ import annotations

import json

import click

from ollama_fleet.outputs.schemas import SCHEMAS


@click.command("schema")
@click.argument("name", required=False, default="fleet", type=click.Choice(sorted(SCHEMAS)))
def command(name: str) -> None:
    """Print a JSON Schema: of fleet.yaml (`fleet`, the default), or of what another command prints with --json.

    Example: ollama-fleet schema > fleet.schema.json
    """
    click.echo(json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False))
