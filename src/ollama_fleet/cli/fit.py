"""`ollama-fleet fit`: one model on one machine, every term."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.gguf import GgufError, facts_of_file, facts_of_model
from ollama_fleet.artifacts.http_source import FetchError
from ollama_fleet.artifacts.manifest import ManifestError
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.cli.gpus import budgets, gpu_options, host_bandwidth, host_memory, host_options
from ollama_fleet.cli.options import json_option
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.estimates import estimate_table, headline, speed_words
from ollama_fleet.outputs.proposal import RELEASE
from ollama_fleet.planner.memory import Estimate, FitOptions, GpuBudget, fit
from ollama_fleet.planner.memory.options import KV_BLOCKS
from ollama_fleet.planner.speed import token_rate


@click.command("fit")
@click.argument("model")
@gpu_options
@host_options
@click.option("--num-ctx", type=click.IntRange(min=1), default=4096, show_default=True, help="Tokens.")
@click.option("--kv-cache-type", type=click.Choice(list(KV_BLOCKS)), default="f16", show_default=True)
@click.option(
    "--flash-attention", type=click.Choice(["on", "off"]), help="The engine's own choice if left out."
)
@click.option("--num-gpu", type=click.IntRange(min=0), help="Layers on GPUs; as many as fit if left out.")
@click.option("--num-batch", type=click.IntRange(min=1), help="Tokens worked off at once.")
@click.option(
    "--num-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Requests at once."
)
@click.option("--release", help="Version of Ollama; whatever needs more if left out.")
@json_option
def command(
    model: str,
    gpu: tuple[str, ...],
    vram: tuple[str, ...],
    ram: str | None,
    cpu: str | None,
    num_ctx: int,
    kv_cache_type: str,
    flash_attention: str | None,
    num_gpu: int | None,
    num_batch: int | None,
    num_parallel: int,
    release: str | None,
    as_json: bool,
) -> None:
    """Reckon what MODEL (a name, or a GGUF file) takes on a machine, term by term.

    Nothing is downloaded but the header of a model that is not in the catalogue.

    Example: ollama-fleet fit deepseek-r1:32b --gpu rtx-4090 --num-ctx 8192 --kv-cache-type q8_0
    """
    facts = _facts(model)
    machine, bandwidth = budgets(gpu, vram), host_bandwidth(cpu)
    kv_type = next(known for known in KV_BLOCKS if known == kv_cache_type)
    try:
        options = FitOptions(
            num_ctx=num_ctx,
            num_gpu="auto" if num_gpu is None else num_gpu,
            num_batch=num_batch,
            num_parallel=num_parallel,
            kv_type_k=kv_type,
            kv_type_v=kv_type,
            flash_attention=None if flash_attention is None else flash_attention == "on",
            release=release,
        )
        estimate = fit(facts, machine, options, host_free=host_memory(ram))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"version": 1, **estimate.to_dict()}, indent=2, ensure_ascii=False))
    else:
        _print(facts, machine, estimate, bandwidth)
        if release is None:
            click.echo(
                f"No release was named, so whatever needs more is charged; --release {RELEASE} may take less."
            )
    if not estimate.fits:
        raise click.exceptions.Exit(1)


def _print(facts: ModelFacts, machine: tuple[GpuBudget, ...], estimate: Estimate, bandwidth: int) -> None:
    out = console()
    out.print(headline(estimate), soft_wrap=True)
    out.print(estimate_table(estimate))
    for reason in estimate.reasons:
        out.print(reason, soft_wrap=True)
    if words := speed_words(token_rate(facts, estimate, machine, bandwidth)):
        out.print(f"{words} expected", soft_wrap=True)


def _facts(model: str) -> ModelFacts:
    try:
        if model.lower().endswith(".gguf"):
            return facts_of_file(Path(model).expanduser())
        name = ModelName.parse(model)
        known = find_model(name)
        return facts_of_model(name) if known is None else known.facts
    except (GgufError, ModelNameError, FetchError, ManifestError) as error:
        raise click.ClickException(str(error)) from error
