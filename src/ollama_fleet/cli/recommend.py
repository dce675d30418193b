"""`ollama-fleet recommend`: which model, quantisation and context a machine should run."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from ollama_fleet.artifacts.families import UnknownFamily, family
from ollama_fleet.cli.gpus import budgets, gpu_options, host_bandwidth, host_memory, host_options
from ollama_fleet.cli.options import json_option
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.estimates import speed_words
from ollama_fleet.outputs.proposal import RELEASE
from ollama_fleet.outputs.sizes import gib
from ollama_fleet.planner.choice import Choice, Preferences
from ollama_fleet.planner.recommendation import recommend


@click.command("recommend")
@gpu_options
@host_options
@click.option(
    "--family", "family_name", default="deepseek-r1", show_default=True, help="Models to choose among."
)
@click.option("--num-ctx", type=click.IntRange(min=1), default=8192, show_default=True, help="Tokens wanted.")
@click.option(
    "--num-ctx-min", type=click.IntRange(min=1), default=4096, show_default=True, help="Least to take."
)
@click.option("--release", default=RELEASE, show_default=True, help="Version of Ollama that is to run it.")
@json_option
def command(
    gpu: tuple[str, ...],
    vram: tuple[str, ...],
    ram: str | None,
    cpu: str | None,
    family_name: str,
    num_ctx: int,
    num_ctx_min: int,
    release: str,
    as_json: bool,
) -> None:
    """Say which sizes of a family run wholly on a machine's GPUs, the largest first, and what a larger one lacks.

    Example: ollama-fleet recommend --gpu rtx-4090
    """
    try:
        preferences = Preferences(num_ctx=num_ctx, num_ctx_floor=min(num_ctx_min, num_ctx), release=release)
        found = recommend(
            budgets(gpu, vram),
            family(family_name),
            preferences,
            host_free=host_memory(ram),
            host_bandwidth=host_bandwidth(cpu),
        )
    except (UnknownFamily, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        document = {"version": 1, "choices": [_plain(choice) for choice in found]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(found)
    if not found:
        raise click.exceptions.Exit(1)


def _print(found: list[Choice]) -> None:
    out = console()
    if not found:
        out.print("Nothing of this family fits.")
        return
    table = Table(
        "model", "quantization", "num_ctx", "KV", "layers", "VRAM", "speed", box=None, pad_edge=False
    )
    for choice in found:
        estimate = choice.estimate
        table.add_row(
            choice.candidate.name,
            choice.candidate.quantization,
            str(choice.num_ctx),
            choice.kv_type,
            f"{estimate.layers_offloaded}/{estimate.layers_total}",
            gib(sum(device.total for device in estimate.devices)),
            speed_words(choice.speed),
        )
    out.print(table)
    if found[0].rejected:
        out.print(f"Nothing better than the first: {found[0].rejected.reason}.", soft_wrap=True)


def _plain(choice: Choice) -> dict[str, Any]:
    return {
        "model": choice.candidate.name,
        "quantization": choice.candidate.quantization,
        "num_ctx": choice.num_ctx,
        "kv_cache_type": choice.kv_type,
        "num_gpu": choice.num_gpu,
        "estimate": choice.estimate.to_dict(),
        "tokens_per_second": None if choice.speed is None else [choice.speed.low, choice.speed.high],
        "rejected": None if choice.rejected is None else choice.rejected.reason,
    }
