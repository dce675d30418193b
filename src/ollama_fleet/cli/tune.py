"""`ollama-fleet tune`: the largest num_gpu that holds, found on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.cli.options import (
    complete_names,
    instance_option,
    json_option,
    seconds,
    size,
    timeout_option,
)
from ollama_fleet.deploys.source import fleet_path, load_source
from ollama_fleet.spec.edit import CannotEdit, patch
from ollama_fleet.spec.errors import SpecErrors


@click.command("tune")
@click.argument("host", shell_complete=complete_names)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@instance_option
@click.option("--context", is_flag=True, help="Find the largest num_ctx as well.")
@click.option("--write", is_flag=True, help="Write what was found into fleet.yaml.")
@click.option(
    "--patch", "as_patch", is_flag=True, help="Print it as a patch of fleet.yaml, and nothing else."
)
@click.option("--resume", is_flag=True, help="Go on with a search that was cut off.")
@click.option(
    "--time-limit",
    default="30m",
    show_default=True,
    metavar="TIME",
    callback=seconds,
    help="For all models together.",
)
@timeout_option
@click.option(
    "--margin",
    default="128MiB",
    show_default=True,
    metavar="SIZE",
    callback=size,
    help="To stay free on each GPU.",
)
@json_option
def command(
    host: str,
    models: tuple[str, ...],
    instances: tuple[str, ...],
    context: bool,
    write: bool,
    as_patch: bool,
    resume: bool,
    time_limit: float,
    timeout: float,
    margin: int,
    as_json: bool,
) -> None:
    """Find on HOST the largest num_gpu with which each MODEL (all by default) holds under a full context.

    Each setting is loaded, asked until its context is full, several times, and its memory read at the peak. As few
    are tried as possible: first what is planned, then what was measured, then by halving. Of several instances each is
    tuned by itself, with its own GPUs, and what is written for a kind of GPU holds on each of them. What was in memory
    before is there again afterwards, also after Ctrl-C. What models took is kept in fleet.measured.yaml, which plans
    use, and every setting that was tried in fleet.runs.jsonl, from which `report` draws.
    Exit code: 0 found, 1 not found in time, or something failed.

    Example: ollama-fleet tune gpu-01 reasoner --write
    """
    if as_patch and (as_json or write):
        raise click.UsageError("--patch prints the patch alone: leave --json and --write out")
    path = fleet_path(Path())
    source = load_source(path)
    try:
        spec = source.fleet.host(host)
    except KeyError:
        source.fleet.select([host])  # tells the nearest right name
        raise click.UsageError(f"{host} is a group; tune one host at a time") from None
    from ollama_fleet.deploys import tuning  # patches sockets for gevent, so not before it is needed
    from ollama_fleet.deploys.keeping import keep, runs_of_tune
    from ollama_fleet.deploys.write_back import save, with_results
    from ollama_fleet.outputs import tuning as shown
    from ollama_fleet.outputs.console import console

    wish = tuning.Wish(models, instances, context, margin, time_limit, timeout, resume)
    found = tuning.tune_host(
        source, path, spec, wish, lambda name, step: click.echo(shown.step_line(name, step), err=True)
    )
    not_kept = keep(path, runs_of_tune(found, str(spec.release.version), source.lock))
    diff, refused = "", None
    try:
        text = path.read_bytes().decode("utf-8")
        after = with_results(text, path, spec, found.tuned, found.shared)
        diff = patch(text, after, path.name)
        if write and diff:
            save(path, after)
    except (CannotEdit, OSError, SpecErrors) as error:
        refused = f"{path}: not written: {error}"
    written = write and bool(diff) and refused is None
    if as_json:
        document = shown.tune_document(found, diff, str(path) if written else None)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif as_patch:
        click.echo(diff, nl=False)
    else:
        shown.print_tuned(console(), found, diff, str(path), written=written)
    for line in (found.error, *found.problems, not_kept, refused):
        if line:
            click.echo(f"{host}: {line}", err=True)
    if not found.ok or refused:
        raise click.exceptions.Exit(1)
