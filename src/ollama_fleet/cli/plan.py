"""`ollama-fleet plan`: what runs where and why, from declared GPUs, without touching a host."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.cli.options import json_option
from ollama_fleet.deploys.source import LOCK_FILE, fleet_path, load_fleet
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.plans import PlannedHost, explain_lines, plan_document, plan_remarks, plan_table
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec


@click.command("plan")
@click.argument("hosts", nargs=-1)
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
    lock_path = path.with_name(LOCK_FILE)
    lock = Lock.load(lock_path) if lock_path.exists() else Lock()
    chosen = fleet.select(hosts)
    planned = [_planned(host, lock) for host in chosen]
    if as_json:
        click.echo(json.dumps(plan_document(planned), indent=2, ensure_ascii=False))
    else:
        out = console()
        out.print(plan_table(planned))
        for line in plan_remarks(planned):
            out.print(line, soft_wrap=True)
        if explain:
            for host, found in zip(chosen, planned, strict=True):
                out.print(f"{host.name}:", style="bold")
                origins = {key: str(origin) for key, origin in sorted(host.origin.items())}
                for line in explain_lines(found, origins):
                    out.print(f"  {line}", soft_wrap=True)
    if not all(host.fits for host in planned):
        raise click.exceptions.Exit(1)


def _planned(host: HostSpec, lock: Lock) -> PlannedHost:
    devices = declared_devices(host)
    if devices is None:
        return PlannedHost(host.name, None)
    gpus = tuple(device.kind or device.name for device in devices)
    try:
        return PlannedHost(host.name, gpus, host_decisions(host, devices, lock))
    except (PlanError, SpecErrors) as error:
        return PlannedHost(host.name, gpus, error=str(error))
