"""An estimate of memory, as a table for people."""

from __future__ import annotations

from rich.table import Table

from ollama_fleet.planner.memory import Estimate
from ollama_fleet.planner.speed import SpeedRange

MIB = 2**20
TERMS = ("weights", "kv", "compute", "projector", "draft", "reserve", "total")


def estimate_table(estimate: Estimate) -> Table:
    """Every term on every device and on the host, in MiB."""
    terms = [term for term in TERMS if any(getattr(device, term, 0) for device in estimate.devices)] or [
        "total"
    ]
    host_terms = {"weights", "kv", "compute", "total"}
    shown = [term for term in TERMS if term in terms or (term in host_terms and getattr(estimate.host, term))]
    table = Table("MiB", *shown, "free", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for device in estimate.devices:
        table.add_row(device.name, *(_mib(getattr(device, term)) for term in shown), _mib(device.free))
    host = [_mib(getattr(estimate.host, term)) if term in host_terms else "" for term in shown]
    table.add_row("host", *host, "" if estimate.host.free is None else _mib(estimate.host.free))
    return table


def headline(estimate: Estimate) -> str:
    """One sentence: whether it fits, and how many layers are on GPUs."""
    verdict = "fits" if estimate.fits else "does not fit"
    layers = f"{estimate.layers_offloaded} of {estimate.layers_total} layers on GPUs"
    return f"{estimate.model}: {verdict}, {layers}, num_ctx {estimate.num_ctx} (confidence {estimate.confidence})"


def speed_words(speed: SpeedRange | None) -> str:
    """The predicted range of tokens per second; empty where nothing is known."""
    return "" if speed is None else f"{speed.low:.0f}–{speed.high:.0f} tokens/s"


def _mib(size: int) -> str:
    return f"{-(-size // MIB):,}".replace(",", "\u2009") if size else "–"
