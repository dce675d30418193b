"""`ollama-fleet report`: the fleet as one page for a browser."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from ollama_fleet.checks.kept_runs import FILE as RUNS_FILE
from ollama_fleet.checks.kept_runs import load_runs
from ollama_fleet.cli.options import hosts_argument
from ollama_fleet.deploys.source import fleet_path, load_fleet, load_lock, load_source, template_texts
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.report.content import content_of
from ollama_fleet.outputs.report.page import page
from ollama_fleet.outputs.sizes import hosts_words
from ollama_fleet.planner.render import RenderError
from ollama_fleet.spec.hosts import HostSpec

READ_BY_ALL = 0o644


@click.command("report")
@hosts_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write; - for standard output.",
)
@click.option("--live", is_flag=True, help="Read the hosts too, and show drift and memory in use.")
def command(hosts: tuple[str, ...], output: Path, live: bool) -> None:
    """Write a page about HOSTS (hosts or groups; all by default): memory by GPU, drift, speed, settings for clients.

    One file that loads nothing, for any browser. The figures are those of `plan --json`, and those that `tune` and
    `bench` have kept in fleet.runs.jsonl. With --live the exit code is 1 where a host could not be read; the page
    then says so.

    Example: ollama-fleet report --live -o fleet.html
    """
    path = fleet_path(Path())
    chosen = load_fleet(path).select(hosts)
    surveyed = _survey(path, chosen) if live else None
    content = content_of(chosen, load_lock(path), surveyed, load_runs(path.with_name(RUNS_FILE)))
    try:
        text = page(content, template_texts(path.parent), datetime.now(UTC))
    except RenderError as error:
        raise click.ClickException(f"templates/{error}") from error
    if str(output) == "-":
        click.echo(text, nl=False)
    else:
        try:
            _write(output, text)
        except OSError as error:
            raise click.ClickException(f"{output}: {error.strerror}") from error
        click.echo(f"{output}: {hosts_words(len(chosen))}, {-(-len(text.encode()) // 1024)} KiB")
    unread = [item for item in surveyed or () if item.error]
    for item in unread:
        click.echo(f"{item.host}: {item.error}", err=True)
    if unread:
        raise click.exceptions.Exit(1)


def _survey(path: Path, hosts: Sequence[HostSpec]) -> list[Surveyed]:
    source = load_source(path)
    from ollama_fleet.deploys.survey import survey

    return survey(source, path, hosts)


def _write(path: Path, text: str) -> None:
    """Write beside and move into place: whoever has the page open never loads half of it."""
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), READ_BY_ALL)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
