"""`ollama-fleet bench`: how fast the models of a host read and write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from ollama_fleet.cli.options import hosts_argument, instance_option, json_option, timeout_option
from ollama_fleet.deploys.source import fleet_path, load_source


def _numbers(least: int, most: int) -> Callable[[click.Context, click.Parameter, str], tuple[int, ...]]:
    def read(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
        words = value.split(",")
        if not all(word.strip().isdecimal() and least <= int(word) <= most for word in words):
            raise click.BadParameter(f"{value!r} is no list of numbers from {least} to {most}, such as 1,4")
        return tuple(dict.fromkeys(int(word) for word in words))

    return read


@click.command("bench")
@hosts_argument
@click.option("--model", "models", multiple=True, help="Only this one; may be given several times.")
@instance_option
@click.option(
    "--repeat",
    type=click.IntRange(min=1, max=100),
    default=5,
    show_default=True,
    help="Rounds of each pattern after a warm-up.",
)
@click.option(
    "--fill",
    "fills",
    callback=_numbers(0, 95),
    metavar="N,N…",
    default="0,50,90",
    show_default=True,
    help="Percent of the context that the prompt takes.",
)
@click.option(
    "--concurrency",
    "concurrencies",
    callback=_numbers(1, 64),
    metavar="N,N…",
    default="1",
    show_default=True,
    help="Requests at once.",
)
@timeout_option
@click.option(
    "--compare",
    "earlier",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The JSON of an earlier run; exit code 1 where something is slower beyond the noise.",
)
@json_option
def command(
    hosts: tuple[str, ...],
    models: tuple[str, ...],
    instances: tuple[str, ...],
    repeat: int,
    fills: tuple[int, ...],
    concurrencies: tuple[int, ...],
    timeout: float,
    earlier: Path | None,
    as_json: bool,
) -> None:
    """Measure on HOSTS (hosts or groups; all by default) how fast each model reads a prompt and writes an answer.

    Rates are Ollama's own, beside what all requests together got by the clock here. What was in memory before is there
    again afterwards, also after Ctrl-C. Every run is kept in fleet.runs.jsonl, from which `report` draws. Exit code:
    0, or 1 where something failed or has become slower.

    Example: ollama-fleet bench gpu-01 --fill 0,90 --concurrency 1,4 --json > bench.json
    """
    path = fleet_path(Path())
    source = load_source(path)
    chosen = source.fleet.select(hosts)
    served = {request.name for spec in chosen for request in spec.models}
    if unknown := [name for name in models if name not in served]:
        raise click.UsageError(
            f"{unknown[0]} is no model of these hosts; there are {', '.join(sorted(served))}"
        )
    from ollama_fleet.checks.benching import Pattern
    from ollama_fleet.deploys.benching import (
        bench_hosts,
    )  # patches sockets for gevent, not before it is needed
    from ollama_fleet.deploys.keeping import keep, runs_of_bench
    from ollama_fleet.outputs import benching as shown
    from ollama_fleet.outputs.console import console

    before = {}
    if earlier is not None:
        try:
            before = shown.read_runs(json.loads(earlier.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{earlier}: {error}") from error
    found = bench_hosts(
        source,
        path,
        chosen,
        models,
        instances,
        Pattern(fills, concurrencies, repeat, timeout),
        lambda host, model, run: click.echo(shown.run_line(host, model, run), err=True),
    )
    if not_kept := keep(path, runs_of_bench(found, source.lock)):
        click.echo(not_kept, err=True)
    if as_json:
        click.echo(json.dumps(shown.bench_document(found), indent=2, ensure_ascii=False))
    else:
        console().print(shown.bench_table(found))
    differences = list(shown.compared(found, before))
    for line in shown.notes(found, differences):
        click.echo(line, err=True)
    if earlier is not None and not differences:
        raise click.ClickException(f"{earlier}: nothing in it was measured now")
    if any(one.regressed for one in differences) or not all(host.ok for host in found):
        raise click.exceptions.Exit(1)
