"""Every configuration that llama.cpp's own tool was asked about (scripts/memory_golden.py makes the file)."""

import csv
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.header_facts import facts_of_header
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.tensor_shapes import header_of_shape
from ollama_fleet.planner.memory import Estimate, FitOptions, GpuBudget, fit

MIB = 2**20
GOLDEN = Path(__file__).parents[3] / "golden" / "dense_memory.csv"
HUGE = GpuBudget("gpu", 10**13, 10**13)


@functools.cache
def facts(size: str, vocabulary: int) -> ModelFacts:
    model = families()["deepseek-r1"].sizes[size].model("Q4_K_M")
    assert model is not None
    return facts_of_header(header_of_shape(replace(model.shape, vocabulary=vocabulary), "Q4_K_M", size))


def estimate(row: dict[str, str]) -> Estimate:
    options = FitOptions(
        num_ctx=int(row["num_ctx"]),
        num_gpu=int(row["num_gpu"]),
        num_batch=int(row["num_batch"]),
        num_parallel=int(row["num_parallel"]),
        kv_type_k=row["kv_k"],  # type: ignore[arg-type]
        kv_type_v=row["kv_v"],  # type: ignore[arg-type]
        flash_attention=row["flash"] == "1",
        release="0.32.15",
        all_logits=True,
    )
    gpus = (HUGE,) * int(row["gpus"])
    return fit(facts(row["size"], int(row["vocabulary"])), gpus, replace(options, spread=True))


def mib(text: str) -> list[int]:
    return [int(part) for part in text.split(";")]


def golden() -> Iterator[tuple[str, dict[str, str], Estimate]]:
    with GOLDEN.open(newline="") as file:
        for row in csv.DictReader(file):
            yield ",".join(row.values()), row, estimate(row)


def test_there_are_at_least_400_configurations_of_seven_shapes() -> None:
    with GOLDEN.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 400
    assert len({row["size"] for row in rows}) == 7
    assert {"f16", "q8_0", "q4_0"} <= {row["kv_v"] for row in rows}
    assert "2048" in {row["num_batch"] for row in rows}


def test_weights_and_cache_equal_the_tools_on_every_gpu_and_the_host() -> None:
    differing = []
    for name, row, found in golden():
        ours = {
            "gpu_weights_mib": [device.weights // MIB for device in found.devices],
            "gpu_kv_mib": [device.kv // MIB for device in found.devices],
            "host_weights_mib": [found.host.weights // MIB],
            "host_kv_mib": [found.host.kv // MIB],
        }
        differing += [(name, term, own) for term, own in ours.items() if own != mib(row[term])]
    assert differing == []


def test_compute_is_within_3_mib_or_2_percent_of_the_tools() -> None:
    differing = []
    for name, row, found in golden():
        pairs = [
            *zip((device.compute for device in found.devices), mib(row["gpu_compute_mib"]), strict=True),
            (found.host.compute, int(row["host_compute_mib"])),
        ]
        for ours, theirs in pairs:
            allowed = max(3.0, 0.02 * theirs)
            # The tool rounds down to whole MiB.
            if not theirs - allowed <= ours / MIB <= theirs + 1 + allowed:
                differing.append((name, theirs, ours / MIB))
    assert differing == []
