"""Options and arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ollama_fleet.deploys.source import fleet_path, load_fleet
from ollama_fleet.spec.errors import SpecErrors, Wrong
from ollama_fleet.spec.values import parse_duration, parse_size


def _chosen(_: click.Context, __: click.Parameter, value: Path | None) -> Path:
    return value if value is not None else fleet_path(Path())


fleet_argument = click.argument(
    "file", required=False, callback=_chosen, type=click.Path(dir_okay=False, path_type=Path)
)
"""FILE, by default `$OLLAMA_FLEET` or fleet.yaml in this folder."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def complete_names(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Hosts and groups that begin so, for a shell; none where the fleet cannot be read."""
    try:
        fleet = load_fleet(fleet_path(Path()))
    except SpecErrors:
        return []
    names = [*(host.name for host in fleet.hosts), *fleet.groups]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


hosts_argument = click.argument("hosts", nargs=-1, shell_complete=complete_names)
"""HOSTS: names of hosts or groups; all hosts where none is given."""

host_option = click.option(
    "--host", "hosts", multiple=True, shell_complete=complete_names, help="A host or group; all by default."
)
"""The same for a command whose argument is something else."""


def seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    """A time as fleet.yaml writes it, `90s` or `10m`; a bare number is seconds."""
    try:
        found = parse_duration(value).seconds
    except Wrong as wrong:
        raise click.BadParameter(f"{wrong.message}; write 30s, 10m, 1h or a number of seconds") from None
    if found < 1:
        raise click.BadParameter(f"{value!r} is less than a second")
    return found


def size(_: click.Context, __: click.Parameter, value: str) -> int:
    """Bytes of a size as fleet.yaml writes it, `512MiB`."""
    try:
        return parse_size(value)
    except Wrong as wrong:
        raise click.BadParameter(f"{wrong.message}; {wrong.hint}") from None


timeout_option = click.option(
    "--timeout",
    default="10m",
    show_default=True,
    metavar="TIME",
    callback=seconds,
    help="Without any word from a server, a load included.",
)
"""For commands that let models load and answer."""

instance_option = click.option(
    "--instance",
    "instances",
    multiple=True,
    metavar="NAME",
    help="Of several instances only this one; may be given several times.",
)
"""For commands that try one server after the other."""
