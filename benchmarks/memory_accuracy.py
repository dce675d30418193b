"""How near the planner is to what others measured, term by term, and beside other estimators.

    python benchmarks/memory_accuracy.py [--rows]

`--rows` prints every row. The rows and where they were published: benchmarks/data/memory-measured.csv.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gguf_parser import VERSION, GgufParser, Unbuilt
from published import MIB, Row, facts_of, models, options_of, rows, shape_of
from rivals import RIVALS, Case

from ollama_fleet.planner.memory import Estimate, GpuBudget, fit

HUGE = 1 << 50


@dataclass(frozen=True)
class Compared:
    """One row and its estimate; `exact`: the weights are reckoned, not only cache and compute."""

    row: Row
    case: Case
    estimate: Estimate
    exact: bool
    recurrent: int = 0
    """Bytes of recurrent state in the estimate that the row does not count."""
    encoder: int = 0
    """Bytes that an image encoder's work is reckoned with."""

    @property
    def terms(self) -> dict[str, tuple[float, float]]:
        """For each term that was measured: ours and theirs, MiB, over all GPUs (cache: and the host)."""
        found: dict[str, tuple[float, float]] = {}
        row, devices, host = self.row, self.estimate.devices, self.estimate.host
        if row.weights and self.exact:
            found["weights"] = sum(d.weights for d in devices) / MIB, sum(row.weights.values())
        if row.raw["num_ctx"] == "":
            return found
        if row.kv:
            partial = not self.estimate.full and not row.kv_host
            ours = (sum(d.kv for d in devices) + (0 if partial else host.kv)) / MIB
            found["cache"] = ours - self.recurrent / MIB, sum(row.kv.values()) + row.kv_host + row.recurrent
        if row.compute:
            # What is copied over from the host is a part of the engine's figure, and of our reserve.
            most = max(self.encoder, *(d.compute + d.staging for d in devices))
            found["compute"] = most / MIB, max(row.compute.values())
        return found

    @property
    def total(self) -> tuple[float, float] | None:
        """All three terms of a single GPU; measured weights stand in where ours are not known."""
        row = self.row
        if row.devices != 1 or not (row.weights and row.kv and row.compute and row.raw["num_ctx"]):
            return None
        device = self.estimate.devices[0]
        weights = device.weights / MIB if self.exact else sum(row.weights.values())
        work = max(device.compute + device.staging, self.encoder)
        ours = weights + (device.kv - self.recurrent + work) / MIB
        return ours, sum(row.weights.values()) + sum(row.kv.values()) + row.recurrent + sum(
            row.compute.values()
        )


def compare(row: Row, model: dict[str, Any]) -> Compared:
    """Estimate what a row measured."""
    facts = facts_of(model, row)
    options = options_of(row, facts)
    gpus = tuple(GpuBudget(f"gpu{place}", HUGE, HUGE) for place in range(row.devices))
    estimate = fit(facts, gpus, options)
    exact = bool(model.get("exact"))
    measured = (sum(row.weights.values()) + (row.weights_host or 0)) * MIB
    case = Case(facts, options, estimate.flash_attention, facts.total_bytes if exact else measured)
    recurrent = 0
    if model.get("attention_only"):
        without = replace(facts, recurrent=None)
        recurrent = sum(d.kv for d in estimate.devices) - sum(
            d.kv for d in fit(without, gpus, options).devices
        )
    return Compared(row, case, estimate, exact, recurrent, 2**30 if model.get("vision") else 0)


def share(errors: Iterable[float]) -> str:
    """Share of errors within 2, 5 and 10 %, with their median."""
    found = list(errors)
    within = (sum(abs(error) <= limit for error in found) for limit in (0.02, 0.05, 0.10))
    counts = "  ".join(f"{100 * count / len(found):3.0f} %" for count in within)
    return (
        f"{len(found):3d} rows   within 2/5/10 %: {counts}   median {100 * statistics.median(found):+6.1f} %"
    )


def main() -> None:
    """Print the comparison."""
    arguments = argparse.ArgumentParser(description="memory: estimates against published measurements")
    arguments.add_argument("--rows", action="store_true", help="print every row")
    given = arguments.parse_args()
    known = models()
    compared = [
        compare(row, known[row.id]) for row in rows() if row.id in known and "left_out" not in known[row.id]
    ]
    print(f"{len(compared)} of {len(rows())} published rows are of models whose dimensions are known here")
    for row in rows():
        if reason := known.get(row.id, {}).get("left_out"):
            print(f"row {row.id} is left out: {reason}")
    print()
    own = [one for one in compared if not one.row.fork]
    terms(own)
    plain = [one for one in own if one.exact and one.estimate.full and not one.case.facts.experts]
    totals(plain, "total, dense, one GPU")
    under(own)
    print("\nrows of a fork that works attention out in ways of its own (ik_llama.cpp):")
    terms([one for one in compared if one.row.fork])
    if given.rows:
        for one in compared:
            print_row(one)
    rivals(compared, known)


def terms(compared: list[Compared]) -> None:
    """A line for each term, and one for the total."""
    for term in ("weights", "cache", "compute"):
        pairs = [one.terms[term] for one in compared if term in one.terms]
        if pairs:
            print(f"{term:22} {share(ours / theirs - 1 for ours, theirs in pairs)}")
    totals(compared, "total, one GPU")


def totals(compared: list[Compared], name: str) -> None:
    """A line for the total."""
    found = [total for one in compared if (total := one.total)]
    print(f"{name:22} {share(ours / theirs - 1 for ours, theirs in found)}")


def under(compared: list[Compared]) -> None:
    """Every total that was under-estimated, by name, and what the others are over."""
    over = []
    print("\nunder-estimates of the total, and the reserve that is kept beside it:")
    for one in compared:
        total = one.total
        if total is None:
            continue
        ours, theirs = total
        reserve = 320 + max(512, 0.03 * float(one.row.number("vram_total_mib") or 0))
        if ours < theirs:
            told = "within the reserve" if theirs - ours <= reserve else "BEYOND THE RESERVE"
            print(f"  row {one.row.id:3d} {one.row.label[:44]:44} {ours:9.0f} of {theirs:9.0f} MiB  {told}")
        else:
            over.append(ours / theirs - 1)
    print(f"median over-estimate of the other {len(over)}: {100 * statistics.median(over):+.1f} %")


def print_row(one: Compared) -> None:
    """One line per term."""
    for term, (ours, theirs) in one.terms.items():
        error = 100 * (ours / theirs - 1)
        label = one.row.label[:40]
        print(f"  row {one.row.id:3d} {label:40} {term:8} {ours:10.1f} {theirs:10.1f} {error:+7.1f} %")


def rivals(compared: list[Compared], known: dict[int, dict[str, Any]]) -> None:
    """The same totals by other methods: rows of one GPU with all layers and experts on it, of no fork."""
    chosen = [
        (one, total[1])
        for one in compared
        if one.estimate.full
        and not one.case.options.cpu_experts
        and not one.row.fork
        and (total := one.total)
    ]
    print(f"\nside by side, total on {len(chosen)} rows (one GPU, all layers):")
    own = [total[0] / total[1] - 1 for one, _ in chosen if (total := one.total)]
    print(f"  {'this planner, without its reserve':36} {share(own)}")
    for name, method in RIVALS.items():
        print(f"  {name:36} {share(method(one.case) / measured - 1 for one, measured in chosen)}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            parser = GgufParser.build(Path(folder))
        except Unbuilt as reason:
            print(f"  gguf-parser-go                       left out, it cannot be built here: {reason}")
            return
        print("the same, on the shapes that a header can be made for, with gguf-parser-go itself:")
        rows_of = [
            (one, measured, found) for one, measured in chosen if (found := shape_of(known[one.row.id]))
        ]
        own = [total[0] / total[1] - 1 for one, _, _ in rows_of if (total := one.total)]
        print(f"  {'this planner, without its reserve':36} {share(own)}")
        errors = []
        for one, measured, (shape, quantization) in rows_of:
            weights = None if one.exact else sum(one.row.weights.values())
            errors.append(parser.total(one.case, shape, quantization, weights) / measured - 1)
        print(f"  {f'gguf-parser-go {VERSION}':36} {share(errors)}")


if __name__ == "__main__":
    main()
