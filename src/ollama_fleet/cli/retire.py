"""`ollama-fleet retire`: take everything of ours off a host that leaves the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ollama_fleet.cli.options import complete_names
from ollama_fleet.deploys.source import fleet_path, load_fleet

if TYPE_CHECKING:  # importing it patches sockets for gevent
    from ollama_fleet.deploys.retiring import Retiring


@click.command("retire")
@click.argument("hosts", nargs=-1, required=True, shell_complete=complete_names)
@click.option("--keep-models", is_flag=True, help="Leave all models where they are.")
@click.option("--all-models", is_flag=True, help="Remove also models that fleet.yaml does not know.")
@click.option("--dry", is_flag=True, help="Only show what would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(hosts: tuple[str, ...], keep_models: bool, all_models: bool, dry: bool, yes: bool) -> None:
    """Leave HOSTS as if they had never been in the fleet; then take them out of fleet.yaml.

    Service, releases, settings, firewall rules, records, models of fleet.yaml, and the account, if an apply made it,
    go. What somebody else made stays: a unit, drop-ins, an Ollama of before, other models. All is shown first.

    Example: ollama-fleet retire gpu-02
    """
    if keep_models and all_models:
        raise click.UsageError("--keep-models and --all-models exclude each other")
    path = fleet_path(Path())
    chosen = load_fleet(path).select(hosts)
    from ollama_fleet.deploys.retiring import Wish, look_at, retire  # patches sockets for gevent

    wish = Wish(keep_models, all_models)
    seen = look_at(path, chosen, wish)
    _show(seen)
    if any(item.error for item in seen):
        raise click.ClickException("nothing was removed")
    busy = [spec for spec, item in zip(chosen, seen, strict=True) if item.plan and item.plan.goes]
    if dry or not busy:
        return
    if not yes and not click.confirm(f"Remove this from {', '.join(spec.name for spec in busy)}?"):
        raise click.ClickException("nothing was removed")
    done = retire(path, seen, busy, wish)
    for item in done:
        click.echo(f"{item.host}: {item.error or 'retired; take it out of fleet.yaml'}", err=bool(item.error))
    if any(item.error for item in done):
        raise click.exceptions.Exit(1)


def _show(seen: list[Retiring]) -> None:
    for item in seen:
        if item.plan is None:
            click.echo(f"{item.host}: {item.error}", err=True)
            continue
        for line in item.plan.goes or ("nothing of ours is there",):
            click.echo(f"{item.host}: {'goes: ' if item.plan.goes else ''}{line}")
        for line in item.plan.stays:
            click.echo(f"{item.host}: stays: {line}")
