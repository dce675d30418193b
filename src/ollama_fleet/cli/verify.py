"""`ollama-fleet verify`: is it really so, on the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ollama_fleet.cli.options import hosts_argument, json_option, timeout_option
from ollama_fleet.deploys.source import fleet_path, load_source

if TYPE_CHECKING:
    from ollama_fleet.checks.verdict import Depth


@click.command("verify")
@hosts_argument
@click.option(
    "--depth",
    type=click.Choice(["quick", "load", "full"]),
    default="load",
    show_default=True,
    help="quick: load nothing; load: let each model answer; full: load each anew and measure its memory.",
)
@timeout_option
@json_option
def command(hosts: tuple[str, ...], depth: str, timeout: float, as_json: bool) -> None:
    """Prove on HOSTS (hosts or groups; all by default) that each model runs where and as it is planned.

    Looks at what the API says, at the engine's own log, at the devices' memory, at a real answer, and at the port
    from here. What is loaded for it is unloaded again, and what was in memory before is put back. Exit code: 0 all
    is right, 1 something is wrong or could not be looked at.

    Example: ollama-fleet verify --depth full gpu-01
    """
    path = fleet_path(Path())
    source = load_source(path)
    from ollama_fleet.deploys.verifying import (
        verify_hosts,
    )  # patches sockets for gevent, not before it is needed
    from ollama_fleet.outputs import verification
    from ollama_fleet.outputs.console import console

    chosen = source.fleet.select(hosts)
    found = verify_hosts(source, path, chosen, depth=cast("Depth", depth), timeout=timeout)
    if as_json:
        click.echo(json.dumps(verification.verification_document(found), indent=2, ensure_ascii=False))
    else:
        out = console()
        for one in found:
            out.print(verification.headline(one), style="green" if one.ok else "red", soft_wrap=True)
            for line in verification.lines(one):
                out.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
            if table := verification.memory_table(one):
                out.print(table)
    if not all(one.ok for one in found):
        raise click.exceptions.Exit(1)
