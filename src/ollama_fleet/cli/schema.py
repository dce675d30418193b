"""`ollama-fleet schema`: the JSON Schema of fleet.yaml, for editors and CI."""

from __future__ import annotations

import json

import click

from ollama_fleet.spec.schema import json_schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of fleet.yaml.

    Example: ollama-fleet schema > fleet.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
