"""How near the planner is to what others measured, term by term, and beside other estimators.

    python benchmarks/memory_accuracy.py [--gguf-parser PATH] [--rows]

`--gguf-parser` takes the program of gguf-parser-go, which is then asked about the same models. `--rows` prints
every row. The rows and where they were published: benchmarks/data/memory-measured.csv.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from published import MIB, Row, facts_of, models, options_of, rows
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
            found["cache"] = ours, sum(row.kv.values()) + row.kv_host + row.recurrent
        if row.compute:
            # What is copied over from the host is a part of the engine's figure, and of our reserve.
            found["compute"] = max(d.compute + d.staging for d in devices) / MIB, max(row.compute.values())
        return found

    @property
    def total(self) -> tuple[float, float] | None:
        """All three terms of a single GPU; measured weights stand in where ours are not known."""
        row = self.row
        if row.devices != 1 or not (row.weights and row.kv and row.compute and row.raw["num_ctx"]):
            return None
        device = self.estimate.devices[0]
        weights = device.weights / MIB if self.exact else sum(row.weights.values())
        ours = weights + (device.kv + device.compute + device.staging) / MIB
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
    return Compared(row, case, estimate, exact)


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
    arguments.add_argument("--gguf-parser", type=Path)
    arguments.add_argument("--rows", action="store_true", help="print every row")
    given = arguments.parse_args()
    known = models()
    compared = [compare(row, known[row.id]) for row in rows() if row.id in known]
    print(f"{len(compared)} of {len(rows())} published rows are of models whose dimensions are known here\n")
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
    rivals(compared, given.gguf_parser)


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


def rivals(compared: list[Compared], parser: Path | None) -> None:
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
    if parser is None:
        print("  gguf-parser-go                       not asked (--gguf-parser PATH)")
        return
    named = [(one, measured) for one, measured in chosen if header_of(one)]
    own = [total[0] / total[1] - 1 for one, _ in named if (total := one.total)]
    print(f"  {'this planner, on these shapes only':36} {share(own)}")
    with tempfile.TemporaryDirectory() as folder:
        errors = [
            asked(parser, Path(folder), one) / measured - 1 for one, measured in chosen if header_of(one)
        ]
    print(f"  {'gguf-parser-go':36} {share(errors)}")


def header_of(one: Compared) -> str | None:
    """The shape, by its name in scripts/memory_golden.py, of a Q4_K_M model that a header can be made for."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
    from memory_golden import SHAPES

    facts = one.case.facts
    for name, shape in SHAPES.items():
        same = (shape.layers, shape.embd, shape.ff) == (
            facts.block_count,
            facts.embedding_length,
            facts.feed_forward,
        )
        if same and "Q4_K" in facts.quantization + one.row.raw["quant"]:
            return name
    return None


def asked(parser: Path, folder: Path, one: Compared) -> float:
    """What gguf-parser-go says a model takes on the GPU, MiB."""
    from memory_golden import SHAPES, write_header

    name = header_of(one)
    assert name is not None
    path = folder / f"{name}.gguf"
    if not path.exists():
        write_header(path, SHAPES[name], SHAPES[name].vocabulary)
    options = one.case.options
    command = [
        *(parser, "--path", path, "--json", "--ctx-size", options.num_ctx, "--gpu-layers", "-1"),
        *("--ubatch-size", one.case.batch, "--cache-type-k", options.kv_type_k),
        *("--cache-type-v", options.kv_type_v, *(["--flash-attention"] if one.case.flash else [])),
    ]
    out = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    item = json.loads(out)["estimate"]["items"][0]
    return sum(vram["nonuma"] for vram in item["vrams"]) / MIB


if __name__ == "__main__":
    main()
