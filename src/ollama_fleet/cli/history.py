"""`ollama-fleet history`: what applies have done on hosts, from the hosts' own records."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import hosts_argument, json_option
from ollama_fleet.deploys.source import fleet_path, load_fleet
from ollama_fleet.outputs.histories import history_document, history_lines


@click.command("history")
@hosts_argument
@click.option(
    "-n", "--last", type=click.IntRange(min=1), help="Only the last N applies of each host; all by default."
)
@json_option
def command(hosts: tuple[str, ...], last: int | None, as_json: bool) -> None:
    """Tell what applies and rollbacks have changed on HOSTS (hosts or groups; all by default), oldest first.

    Each apply that changed something, and each that failed, has left a record on the host: what changed, from which
    commit, when, by whom, and how it ended. Costs one command per host. Exit code 1 if a host cannot be read.

    Example: ollama-fleet history -n 1 gpu-01
    """
    path = fleet_path(Path())
    chosen = load_fleet(path).select(hosts)
    from ollama_fleet.deploys.histories import HostHistory, histories  # patches sockets for gevent

    found = [
        HostHistory(item.host, item.records[-last:] if last else item.records, item.error)
        for item in histories(path, chosen)
    ]
    if as_json:
        click.echo(json.dumps(history_document(found), indent=2, ensure_ascii=False))
    else:
        for item in found:
            if item.error:
                click.echo(f"{item.host}: {item.error}", err=True)
            elif not item.records:
                click.echo(f"{item.host}: no apply has changed anything")
            for record in item.records:
                for line in history_lines(record):
                    click.echo(f"{item.host}: {line}")
    if any(item.error for item in found):
        raise click.exceptions.Exit(1)
