"""`ollama-fleet drift`: what an apply would change, for people and programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import hosts_argument, json_option
from ollama_fleet.deploys.source import fleet_path, load_source
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.changes import changes_document, status_of
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.drift_view import print_drift
from ollama_fleet.planner.changes import change_lines

EXIT = {"clean": 0, "error": 1, "drifted": 2}


@click.command("drift")
@hosts_argument
@json_option
def command(hosts: tuple[str, ...], as_json: bool) -> None:
    """Compare HOSTS (hosts or groups; all by default) with fleet.yaml; nothing is changed.

    Costs one command per host. Exit code: 0 nothing to do, 2 changes, 1 error (a host that cannot be read, or that an
    apply could not bring in order; the others are reported all the same).

    Example: ollama-fleet drift --json gpu-01
    """
    path = fleet_path(Path())
    source = load_source(path)
    from ollama_fleet.deploys.survey import survey  # patches sockets for gevent, so not before it is needed

    found = survey(source, path, source.fleet.select(hosts))
    if as_json:
        click.echo(json.dumps(changes_document(found), indent=2, ensure_ascii=False))
    elif (out := console()).is_terminal:
        print_drift(out, found)
    else:
        for item in found:
            _print(item)
    raise click.exceptions.Exit(EXIT[status_of(found)])


def _print(item: Surveyed) -> None:
    lines = list(change_lines(item.plan, item.state)) if item.plan and item.state else []
    for line in lines if lines or item.error else ["nothing to do"]:
        click.echo(f"{item.host}: {line}")
    if item.error:
        click.echo(f"{item.host}: {item.error}", err=True)
