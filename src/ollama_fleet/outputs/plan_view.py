"""What runs where and why, for somebody at a terminal: a table per host. Pipes get one table of all, uncut."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.outputs.estimates import speed_words
from ollama_fleet.outputs.least_times import DISK_WORDS, LINE_WORDS, download_words, load_words
from ollama_fleet.outputs.plans import PlannedHost, memory_words
from ollama_fleet.outputs.sizes import gib, hosts_words
from ollama_fleet.planner.decision import facts_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_decisions import Decided

NARROW = 90
"""Columns below which a row becomes a paragraph."""
COLUMNS = ("model", "from", "num_ctx", "layers", "memory", "download", "load", "speed")


def print_plan(out: Console, hosts: Sequence[PlannedHost], lock: Lock) -> None:
    """Print each host's models, with the reason for each below it."""
    for host in hosts:
        gpus = "GPUs unknown" if host.gpus is None else ", ".join(host.gpus) or "no GPU"
        out.print(Text(host.name, "bold").append(f"  {gpus}", "not bold dim"), soft_wrap=True)
        if host.error:
            out.print(Text(f"   {host.error}", "red"), soft_wrap=True)
        elif not host.decided:
            words = "planned by an apply, which sees its GPUs" if host.gpus is None else "no models"
            out.print(Text(f"   {words}", "dim"))
        elif out.width < NARROW:
            _paragraphs(out, host, lock)
        else:
            out.print(_table(host, lock))
            for number, item in enumerate(host.decided):
                _print_reasons(out, host.label(number), item)
    bad = [host.name for host in hosts if not host.fits]
    verdict = Text(f"does not fit: {', '.join(bad)}", "bold red") if bad else Text("all fits", "bold green")
    out.print(Text(f"{hosts_words(len(hosts))}: ", "bold").append(verdict), soft_wrap=True)
    out.print(Text(f"Downloads are reckoned {LINE_WORDS}, loads {DISK_WORDS}.", "dim"))


def reasons_of(item: Decided) -> list[str]:
    """Why this form of the model: who decided, what better was not taken, what is to be known."""
    decision, origin = item.decision, item.resolved.origin
    if decision.choice is None:
        said = next((str(origin[key]) for key in ("quantization", "num_gpu", "from") if key in origin), None)
        lines = [f"as asked for at {said}"] if said else []
    else:
        count = len(item.resolved.candidates)
        lines = [f"the best of {count} forms that fits" if count > 1 else "what fits of what is left open"]
        if decision.choice.rejected is not None:
            lines.append(f"not taken: {decision.choice.rejected.reason}")
    if decision.estimate is None:
        lines.append(f"nothing is known of {decision.candidate.base} before it is locked")
    return [*lines, *item.resolved.remarks, *decision.remarks]


def _cells(label: str, item: Decided, lock: Lock) -> list[str]:
    decision, estimate = item.decision, item.decision.estimate
    layers = "?" if estimate is None else f"{estimate.layers_offloaded}/{estimate.layers_total}"
    if decision.num_gpu is None and estimate is not None:
        layers += " engine"
    size = _size(item, lock)
    return [
        label,
        decision.candidate.base,
        str(decision.num_ctx),
        layers,
        memory_words(estimate),
        "?" if size is None else f"{gib(size)}, {download_words(size)}",
        "?" if size is None else load_words(size),
        speed_words(decision.choice.speed if decision.choice else None),
    ]


def _size(item: Decided, lock: Lock) -> int | None:
    """Bytes of a base: as locked, else of its tensors; None where nothing is known."""
    candidate = item.decision.candidate
    try:
        facts = facts_of(candidate, lock)
    except PlanError:
        return None
    return None if facts is None else facts.file_bytes or facts.total_bytes


def _table(host: PlannedHost, lock: Lock) -> Table:
    table = Table(*COLUMNS, box=None, padding=(0, 1), header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    for number, item in enumerate(host.decided):
        style = "" if item.decision.fits else "red"
        table.add_row(*(Text(cell) for cell in _cells(host.label(number), item, lock)), style=style)
    return table


def _print_reasons(out: Console, label: str, item: Decided) -> None:
    style = "dim" if item.decision.fits else "red"
    for reason in reasons_of(item):
        out.print(Padding(Text(f"{label}: {reason}", style), (0, 0, 0, 3)))


def _paragraphs(out: Console, host: PlannedHost, lock: Lock) -> None:
    for number, item in enumerate(host.decided):
        name, base, *rest = _cells(host.label(number), item, lock)
        out.print(Text(f" {name}", "" if item.decision.fits else "red").append(f"  {base}", "dim"))
        for column, cell in zip(COLUMNS[2:], rest, strict=True):
            if cell:
                out.print(Text(f"   {column}: {cell}"))
        _print_reasons(out, host.label(number), item)
