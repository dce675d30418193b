"""Pages to look at: a small fleet as planned and as found, and a large one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.checks.bench_figures import Run, Series
from ollama_fleet.checks.kept_runs import KeptRun
from ollama_fleet.checks.trial_steps import Step
from ollama_fleet.deploys.source import published, template_texts
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.outputs.report.content import content_of
from ollama_fleet.outputs.report.page import page
from ollama_fleet.spec.fleet import Fleet

GIB = 2**30
MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMALL = """\
version: 1
release: {version: 0.32.15}
defaults:
  listen: 0.0.0.0:11434
  env: {OLLAMA_FLASH_ATTENTION: true, OLLAMA_KV_CACHE_TYPE: q8_0}
  firewall: {allow_from: [192.168.1.0/24]}
models:
  reasoner:
    from: deepseek-r1:32b
    variants: {IQ3_M: 'hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M'}
    quantization: auto
    num_ctx: 8192
    num_gpu: auto
    preload: true
    per_gpu:
      rtx-4060-ti-16gb: {quantization: IQ3_M, num_gpu: 60, num_ctx: 4096}
  large: {from: 'deepseek-r1:70b', num_ctx: 8192, num_gpu: 81}
  unknown: {from: 'somebody/else:1b', num_ctx: 4096}
groups:
  rack: {hosts: [gpu-01, gpu-02], models: [reasoner]}
hosts:
  gpu-01: {address: 192.168.1.11, gpus: [rtx-4090, rtx-4090]}
  gpu-02: {address: 192.168.1.12, gpus: [rtx-4060-ti-16gb], models: [unknown]}
  too-small: {address: 192.168.1.13, gpus: [rtx-4070], models: [large]}
  cpu-only: {address: 192.168.1.14, gpus: [], models: [unknown]}
  who-knows: {address: 192.168.1.15, models: [reasoner]}
"""


def fleet_of(text: str) -> Fleet:
    return Fleet.parse(text, catalogue().keys(), published=published)


def large_fleet(hosts: int) -> str:
    """A rack of three models a host, one of them loaded for good."""
    kinds = ("rtx-4090", "rtx-3090", "a100-80gb", "l20")
    lines = [f"  gpu-{n:03}: {{address: 10.0.0.{n}, gpus: [{kinds[n % 4]}]}}" for n in range(1, hosts + 1)]
    names = ", ".join(f"gpu-{n:03}" for n in range(1, hosts + 1))
    head = (
        SMALL.partition("groups:")[0]
        .replace("deepseek-r1:70b", "deepseek-r1:14b")
        .replace("num_gpu: 81", "num_gpu: 49")
        .replace("somebody/else:1b", "deepseek-r1:7b")
        .replace("unknown:", "small:")
    )
    return (
        f"{head}groups:\n  rack: {{hosts: [{names}], models: [reasoner, large, small]}}\nhosts:\n"
        + "\n".join(lines)
    )


def tuned(host: str, model: str, *, time: str = "2025-12-30T10:00:00Z") -> KeptRun:
    """A search that came to 60 of 65 layers."""
    steps = [
        Step(0, 8192, True, "", (0,), 2.125, 1.75, 21.5, 60.0),
        Step(30, 8192, True, "", (9 * GIB,), 5.75, 4.5, 130.25, 31.0),
        Step(60, 8192, True, "", (15 * GIB,), 21.375, 17.0, 455.5, 25.5),
        Step(65, 8192, False, "out of memory while loading", None, None, None, None, 9.0),
    ]
    return KeptRun(
        kind="tune", num_gpu=60, layers=65, steps=tuple(steps), **_about(host, model, time, "0.32.15")
    )


def benched(host: str, model: str, count: int) -> list[KeptRun]:
    """Some benchmarks, a release behind at first."""
    found = []
    for number in range(count):
        release = "0.30.2" if number < count // 2 else "0.32.15"
        rates = [round(rate * (1 + 0.05 * number), 3) for rate in (24.0, 21.5, 18.25)]
        runs = [
            Run(fill, 1, Series(900.5, 880.0, 910.0, 5), Series(rate, rate - 1, rate + 0.5, 5), None)
            for fill, rate in zip((0, 50, 90), rates, strict=True)
        ]
        runs.append(Run(0, 4, None, Series(12.5, 12.0, 13.0, 20), Series(49.75, 48.0, 50.0, 5)))
        time = f"2025-12-{number + 1:02}T03:00:00Z"
        found.append(
            KeptRun(kind="bench", num_gpu=None, runs=tuple(runs), **_about(host, model, time, release))
        )
    return found


def _about(host: str, model: str, time: str, release: str) -> dict[str, Any]:
    return {
        "time": time,
        "host": host,
        "model": model,
        "base": "deepseek-r1:32b",
        "digest": None,
        "quantization": "IQ3_M",
        "release": release,
        "gpus": ("rtx-4060-ti-16gb",),
        "num_ctx": 8192,
    }


RUNS = [tuned("gpu-02", "reasoner"), *benched("gpu-02", "reasoner", 6), *benched("cpu-only", "unknown", 1)]


def large_runs(hosts: int) -> list[KeptRun]:
    """Everything tuned once and benchmarked twelve times."""
    return [
        run
        for number in range(1, hosts + 1)
        for model in ("reasoner", "large", "small")
        for run in (tuned(f"gpu-{number:03}", model), *benched(f"gpu-{number:03}", model, 12))
    ]


def write_page(
    path: Path, text: str, surveyed: Sequence[Surveyed] | None = None, runs: Sequence[KeptRun] = ()
) -> Path:
    """Write the page of a fleet; `surveyed` is what was found on its hosts, `runs` what was measured there."""
    content = content_of(fleet_of(text).hosts, Lock(), surveyed, runs)
    path.write_text(page(content, template_texts(Path("/nowhere")), MADE), encoding="utf-8")
    return path
