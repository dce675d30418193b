"""`ollama-fleet plan`: what runs where and why, from declared GPUs, without touching a host."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import hosts_argument, json_option
from ollama_fleet.deploys.source import fleet_path, load_fleet, load_lock
from ollama_fleet.outputs.columns import columns
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.plan_view import print_plan
from ollama_fleet.outputs.plans import (
    HEAD,
    explain_lines,
    plan_document,
    plan_remarks,
    plan_rows,
    planned_host,
)
from ollama_fleet.planner.decision import Decisions

MOST_SHOWN = 100
"""Hosts that get a table each on a terminal; of more, one line for each model."""


@click.command("plan")
@hosts_argument
@click.option("--explain", is_flag=True, help="For each value the line of fleet.yaml that gave it.")
@json_option
def command(hosts: tuple[str, ...], explain: bool, as_json: bool) -> None:
    """Plan HOSTS (hosts or groups; all by default) from the GPUs that fleet.yaml declares.

    Exit code 1 where something does not fit, or cannot be planned. Hosts with `gpus: auto` are planned by an
    apply, which sees their GPUs.

    Example: ollama-fleet plan --json
    """
    path = fleet_path(Path())
    fleet = load_fleet(path)
    lock = load_lock(path)
    chosen = fleet.select(hosts)
    decisions = Decisions(lock)
    planned = [planned_host(host, lock, decisions) for host in chosen]
    if as_json:
        click.echo(json.dumps(plan_document(planned), indent=2, ensure_ascii=False))
    else:
        out = console()
        if out.is_terminal and len(planned) <= MOST_SHOWN:
            print_plan(out, planned, lock)
        else:
            click.echo("\n".join([*columns([HEAD, *plan_rows(planned)]), *plan_remarks(planned)]))
        if explain:
            for host, found in zip(chosen, planned, strict=True):
                out.print(f"{host.name}:", style="bold")
                origins = {key: str(origin) for key, origin in sorted(host.origin.items())}
                for line in explain_lines(found, origins):
                    out.print(f"  {line}", soft_wrap=True)
    if not all(host.fits for host in planned):
        raise click.exceptions.Exit(1)
