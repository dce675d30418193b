"""`ollama-fleet doctor`: what would stop an apply, each with its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import hosts_argument, json_option
from ollama_fleet.deploys.source import Source, fleet_path, load_fleet, load_lock, load_templates
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.diagnoses import diagnoses_document, print_diagnoses


@click.command("doctor")
@hosts_argument
@json_option
def command(hosts: tuple[str, ...], as_json: bool) -> None:
    """Look for what would stop an apply on HOSTS (hosts or groups; all by default); nothing is changed.

    Connection, rights, clock, driver, disk, port, names and addresses that are fetched from, an Ollama with known
    holes: one command per host, and for each trouble what to do. Exit code 1 where something is in the way.

    Example: ollama-fleet doctor gpu-01
    """
    path = fleet_path(Path())
    source = Source(load_fleet(path), load_lock(path), load_templates(path.parent))
    from ollama_fleet.deploys.doctor import examine  # patches sockets for gevent, so not before it is needed

    examined = examine(source, path, source.fleet.select(hosts))
    if as_json:
        click.echo(json.dumps(diagnoses_document(examined), indent=2, ensure_ascii=False))
    else:
        print_diagnoses(console(), examined)
    if not all(host.healthy for host in examined):
        raise click.exceptions.Exit(1)
