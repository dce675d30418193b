"""`ollama-fleet clients`: what people paste into the programs that they talk to models with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ollama_fleet.cli.options import host_option, json_option
from ollama_fleet.deploys.source import fleet_path, load_fleet, load_lock
from ollama_fleet.outputs.clients.every import CLIENTS, clients_document, settings_for
from ollama_fleet.outputs.clients.setting import Setting
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.endpoints import Endpoint, endpoints
from ollama_fleet.outputs.qr_code import terminal_code


@click.command("clients")
@click.argument("client", required=False, type=click.Choice(list(CLIENTS)))
@host_option
@click.option(
    "--qr/--no-qr",
    default=None,
    help="Links as QR codes too; by default for one client on a terminal that is wide enough.",
)
@json_option
def command(client: str | None, hosts: tuple[str, ...], qr: bool | None, as_json: bool) -> None:
    """Print what to import into CLIENT (every one if left out), for each host and model of fleet.yaml.

    No host is asked. Ollama has no passwords: whoever reaches a port may use it, and the key in some settings only
    fills a field. Behind a front door (access) the key is a token: settings say where it is found, not what it is.

    Example: ollama-fleet clients chatbox --host gpu-01
    """
    path = fleet_path(Path())
    fleet = load_fleet(path)
    found = endpoints(fleet.select(hosts), load_lock(path))
    names = [client] if client else list(CLIENTS)
    settings = settings_for(names, found)
    if as_json:
        click.echo(json.dumps(clients_document(found, settings), indent=2, ensure_ascii=False))
        return
    for line in _remarks(found):
        click.echo(line, err=True)
    wants_codes = qr if qr is not None else bool(client) and sys.stdout.isatty()
    for setting in settings:
        _print(setting, wants_codes, explicit=bool(qr))


def _print(setting: Setting, code: bool, *, explicit: bool) -> None:
    where = ", ".join(part for part in (setting.host, setting.instance, setting.model) if part) or "all hosts"
    click.secho(f"# {setting.client}, {where}: {setting.how}", dim=True)
    click.echo(setting.text.rstrip("\n"))
    if code and setting.scan:
        drawn = terminal_code(setting.text)
        width = 0 if drawn is None else max(map(len, drawn.splitlines()))
        if drawn is None:
            click.echo("# too long for a QR code", err=True)
        elif explicit or width <= console().width:
            click.echo(drawn)
        else:
            click.echo(f"# the QR code needs a terminal of {width} columns", err=True)
    click.echo()


def _remarks(found: list[Endpoint]) -> list[str]:
    lines = []
    for endpoint in found:
        if not endpoint.complete:
            lines.append(_incomplete(endpoint))
        elif not endpoint.models:
            lines.append(f"{endpoint.name}: serves no model")
        elif not endpoint.reachable:
            lines.append(
                f"{endpoint.name}: listens on {endpoint.url.partition('://')[2]} only, so no other machine "
                "reaches it; write listen and firewall.allow_from to let them"
            )
        elif endpoint.token is not None:
            lines.append(
                f"{endpoint.name}: put the token of {endpoint.client} in the place of <{endpoint.token}>, "
                "where that stands"
            )
    return lines


def _incomplete(endpoint: Endpoint) -> str:
    """What is not shown, since only the host knows its cards, and where it is found."""
    names = ", ".join(endpoint.left_out)
    without = f"without {names}, as the card decides the name there" if names else ""
    if endpoint.instance:
        return f"{endpoint.name}: {without}; write its devices by kind, or see `ollama-fleet report --live`"
    advice = "write its GPUs into gpus, or see `ollama-fleet report --live`"
    if endpoint.token is not None:
        return f"{endpoint.host}: each of its instances has a path by its card, which only the host knows; {advice}"
    shown = f"only the first of its instances is shown{f', {without}' if without else ''}"
    return f"{endpoint.host}: {shown}; how many there are only the host knows: {advice}"
