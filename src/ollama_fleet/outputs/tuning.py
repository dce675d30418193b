"""What a tuning tried and found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ollama_fleet.artifacts.measured import Measurement
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.outputs.sizes import gib

if TYPE_CHECKING:  # importing it patches sockets for gevent
    from ollama_fleet.deploys.tuning import HostTuned

MIB = 2**20


def tune_document(found: HostTuned, patch: str, written: str | None) -> dict[str, Any]:
    """Return the JSON of `tune`, version 1; sizes in bytes, times in seconds, null for what nobody knows."""
    return {
        "version": 1,
        "host": found.host,
        "gpus": list(found.kinds),
        "ok": found.ok,
        "error": found.error,
        "problems": list(found.problems),
        "models": {one.label: _model(one) for one in found.tuned},
        "patch": patch,
        "written": written,
    }


def _model(one: Tuned) -> dict[str, Any]:
    measured = one.measurement
    return {
        "instance": one.instance,
        "gpus": list(one.kinds),
        "base": one.base,
        "quantization": one.quantization,
        "layers": one.layers,
        "num_gpu": one.num_gpu,
        "num_ctx": one.num_ctx,
        "lacks": one.lacks,
        "loads": one.loads,
        "error": one.error,
        "steps": [step.to_dict() for step in one.steps],
        "memory": None
        if measured is None
        else {
            "planned": measured.planned.model_dump(),
            "observed": measured.observed.model_dump(),
            "beside": measured.beside,
            "planned_before": one.planned_before,
            "predicted": one.predicted,
            "taken": one.taken,
        },
    }


def print_tuned(out: Console, found: HostTuned, patch: str, file: str, *, written: bool) -> None:
    """Print the tables, the results, and what becomes of fleet.yaml."""
    for one in found.tuned:
        out.print(step_table(one))
        if one.measurement is not None:
            out.print(memory_table(one.measurement))
        for line in result_lines(one):
            out.print(line, soft_wrap=True)
    if written:
        out.print(f"{file}: written", soft_wrap=True)
    elif patch:
        out.print(f"{patch}{file}: --write writes this", soft_wrap=True)
    elif any(one.num_gpu is not None and not one.error for one in found.tuned):
        out.print(f"{file}: says so already", soft_wrap=True)


def step_line(name: str, step: Step) -> str:
    """One step as it is made."""
    verdict = "holds" if step.held else f"does not hold: {step.reason}"
    rate = "" if step.tokens_per_second is None else f", {step.tokens_per_second:g} tokens/s"
    return f"{name}: num_gpu {step.num_gpu}, num_ctx {step.num_ctx}: {verdict}{rate} ({step.seconds:.0f} s)"


def step_table(one: Tuned) -> Table:
    """Every step: what it took, how fast it answered, and what came of it."""
    table = Table(
        "num_gpu",
        "num_ctx",
        "GPU memory",
        "tokens/s",
        "full context",
        "prompt",
        "",
        box=None,
        pad_edge=False,
    )
    for column in table.columns[:6]:
        column.justify = "right"
    for step in one.steps:
        best = "← " if step is one.best else ""
        table.add_row(
            f"{step.num_gpu}/{one.layers}",
            str(step.num_ctx),
            "?" if step.taken is None else gib(sum(step.taken)),
            _rate(step.tokens_per_second),
            _rate(step.full_tokens_per_second),
            _rate(step.prompt_tokens_per_second),
            f"{best}holds" if step.held else step.reason,
        )
    return table


def result_lines(one: Tuned) -> list[str]:
    """What was found, and how far the plan was off."""
    lines = []
    if one.num_gpu is not None:
        lacks = ""
        if one.lacks is not None:
            lacks = f"; the next larger setting would lack {-(-one.lacks // MIB)} MiB"
        lines.append(
            f"{one.label}: num_gpu {one.num_gpu} of {one.layers}, num_ctx {one.num_ctx}, found with {one.loads} "
            f"load{'' if one.loads == 1 else 's'}{lacks}"
        )
    if one.taken and one.planned_before and one.predicted:
        before, after = ((value - one.taken) / one.taken for value in (one.planned_before, one.predicted))
        lines.append(
            f"{one.label}: the plan was off by {before:+.1%}; with what was measured by {after:+.1%}"
        )
    if one.error:
        lines.append(f"{one.label}: {one.error}")
    return lines


def memory_table(measured: Measurement) -> Table:
    """Planned and measured, term by term, in MiB."""
    table = Table("MiB", "planned", "measured", "", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for term in ("weights", "kv", "compute"):
        planned, observed = (int(getattr(side, term)) for side in (measured.planned, measured.observed))
        off = f"{(observed - planned) / planned:+.1%}" if planned else ""
        table.add_row(term, f"{planned / MIB:.0f}", f"{observed / MIB:.0f}", off)
    table.add_row("beside", "", f"{measured.beside / MIB:.0f}", "")
    return table


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
