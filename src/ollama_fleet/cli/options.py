"""Options and arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

from ollama_fleet.deploys.source import fleet_path


def _chosen(_: click.Context, __: click.Parameter, value: Path | None) -> Path:
    return value if value is not None else fleet_path(Path())


fleet_argument = click.argument(
    "file", required=False, callback=_chosen, type=click.Path(dir_okay=False, path_type=Path)
)
"""FILE, by default `$OLLAMA_FLEET` or fleet.yaml in this folder."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
