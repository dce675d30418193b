"""Mixtures, windows, latent and recurrent attention against llama.cpp's own tool (scripts/memory_shapes.py)."""

import csv
import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ollama_fleet.artifacts.gguf import facts_of_file
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory import Estimate, FitOptions, GpuBudget, fit

MIB = 2**20
ROOT = Path(__file__).parents[4]
HUGE = GpuBudget("gpu", 10**13, 10**13)


@functools.cache
def shapes() -> ModuleType:
    scripts = str(ROOT / "scripts")
    sys.path.insert(0, scripts)
    try:
        spec = importlib.util.find_spec("memory_shapes")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(scripts)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFacts]:
    folder = tmp_path_factory.mktemp("headers")
    found = {}
    for name in shapes().MODELS:
        shapes().write_shape(folder / name, name)
        found[name] = facts_of_file(folder / name)
    return found


def golden(models: dict[str, ModelFacts]) -> Iterator[tuple[dict[str, str], Estimate]]:
    with (ROOT / "tests" / "golden" / "other_memory.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            options = FitOptions(
                num_ctx=int(row["num_ctx"]),
                num_gpu=int(row["num_gpu"]),
                num_batch=int(row["num_batch"]),
                kv_type_k=row["kv_k"],  # type: ignore[arg-type]
                kv_type_v=row["kv_v"],  # type: ignore[arg-type]
                flash_attention=row["flash"] == "1",
                release="0.32.15",
                all_logits=True,
                spread=True,
            )
            yield row, fit(models[row["size"]], (HUGE,) * int(row["gpus"]), options)


def mib(text: str) -> list[int]:
    return [int(part) for part in text.split(";")]


def test_weights_and_cache_equal_the_tools(models: dict[str, ModelFacts]) -> None:
    for row, found in golden(models):
        # Embeddings of a few hundred tokens are not all the tool counts on the host: norms of 1 MiB in all.
        assert [device.weights // MIB for device in found.devices] == mib(row["gpu_weights_mib"]), row
        assert abs(found.host.weights / MIB - int(row["host_weights_mib"])) < 2, row
        assert [device.kv // MIB for device in found.devices] == mib(row["gpu_kv_mib"]), row
        assert [found.host.kv // MIB] == mib(row["host_kv_mib"]), row


def test_compute_on_the_gpu_is_within_8_percent_and_never_3_percent_below(
    models: dict[str, ModelFacts],
) -> None:
    errors = {}
    for row, found in golden(models):
        for device, theirs in zip(found.devices, mib(row["gpu_compute_mib"]), strict=True):
            ours = device.compute / MIB
            if not theirs - max(3.0, 0.03 * theirs) <= ours <= theirs + 1 + max(4.0, 0.08 * theirs):
                errors[",".join(row.values())] = ours
    assert errors == {}


def test_without_the_windows_a_windowed_model_would_need_several_times_the_cache(
    models: dict[str, ModelFacts],
) -> None:
    windowed = models["gemma-3-27b"]
    runs = tuple(replace(run, attention="full") for run in windowed.layers)
    options = FitOptions(num_ctx=32768, num_gpu=999, num_batch=512, release="0.32.15")
    with_windows = fit(windowed, (HUGE,), options).devices[0].kv
    without = fit(replace(windowed, layers=runs), (HUGE,), options).devices[0].kv
    assert without > 4 * with_windows
