"""`--gpu`, `--vram`, `--ram` and `--cpu`: the machine that a question is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ollama_fleet.hardware.catalogue import catalogue, nearest
from ollama_fleet.hardware.cpu import memory_bus
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.memory import GpuBudget, budget_of_size, budgets_of
from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.values import parse_size

SYSTEM_USE = 2 << 30
"""Of a machine's memory, what the system and its services keep."""


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


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--ram SIZE` and `--cpu NAME`, for what stays in host memory."""
    function = click.option(
        "--cpu", metavar="NAME", help="The CPU, such as 'EPYC 9755', for the speed of what it runs."
    )(function)
    return click.option(
        "--ram", metavar="SIZE", help="Memory of the machine, such as 64GiB, for what stays on the CPU."
    )(function)


def host_memory(ram: str | None) -> int | None:
    """Bytes of host memory that a model may have; None where nobody said. Raises click.ClickException."""
    return None if ram is None else max(_size("--ram", ram) - SYSTEM_USE, 0)


def host_bandwidth(cpu: str | None) -> int:
    """Peak bandwidth of one socket's memory, bytes per second; 0 where nobody said. Raises click.ClickException."""
    if cpu is None:
        return 0
    bus = memory_bus(cpu)
    if bus is None:
        raise click.ClickException(
            f"the memory of {cpu!r} is not known; write the name as /proc/cpuinfo has it"
        )
    return int(bus.bandwidth_gb_s * 1e9)


def _plain(size: str) -> GpuBudget:
    return budget_of_size(_size("--vram", size))


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except Wrong as wrong:
        raise click.ClickException(f"{option} {text}: {wrong.message}; {wrong.hint}") from wrong
