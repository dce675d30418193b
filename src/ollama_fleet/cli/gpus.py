"""`--gpu` and `--vram`: the machine that a question is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ollama_fleet.hardware.catalogue import catalogue, nearest
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.memory import GpuBudget, budget_of_size, budgets_of
from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.values import parse_size


def gpu_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--gpu NAME` and `--vram SIZE`, each as often as there are cards."""
    function = click.option(
        "--vram", multiple=True, metavar="SIZE", help="A GPU by its memory, such as 24GiB."
    )(function)
    return click.option(
        "--gpu", multiple=True, metavar="NAME", help="A GPU, such as rtx-4090; once for each card."
    )(function)


def budgets(gpus: tuple[str, ...], sizes: tuple[str, ...]) -> tuple[GpuBudget, ...]:
    """Return the GPUs that the options name; none is the CPU alone.

    Raises:
        click.ClickException: a name that is not in the catalogue, or a size that is none.
    """
    for name in gpus:
        if name not in catalogue():
            near = ", ".join(nearest(name)[:3])
            raise click.ClickException(f"{name!r} is no known GPU; do you mean {near}?")
    declared = budgets_of([Device.declared(name, index) for index, name in enumerate(gpus)])
    return (*declared, *(_plain(size) for size in sizes))


def _plain(size: str) -> GpuBudget:
    try:
        total = parse_size(size)
    except Wrong as wrong:
        raise click.ClickException(f"--vram {size}: {wrong.message}; {wrong.hint}") from wrong
    return budget_of_size(total)
