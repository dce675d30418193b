"""Pages to look at: a small fleet as planned and as found, and a large one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import published, template_texts
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.outputs.report.content import content_of
from ollama_fleet.outputs.report.page import page
from ollama_fleet.spec.fleet import Fleet

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
    """A rack of two models a host, one of them loaded for good."""
    kinds = ("rtx-4090", "rtx-3090", "a100-80gb", "l20")
    lines = [f"  gpu-{n:03}: {{address: 10.0.0.{n}, gpus: [{kinds[n % 4]}]}}" for n in range(1, hosts + 1)]
    names = ", ".join(f"gpu-{n:03}" for n in range(1, hosts + 1))
    head = (
        SMALL.partition("groups:")[0]
        .replace("deepseek-r1:70b", "deepseek-r1:14b")
        .replace("num_gpu: 81", "num_gpu: 49")
    )
    return f"{head}groups:\n  rack: {{hosts: [{names}], models: [reasoner, large]}}\nhosts:\n" + "\n".join(
        lines
    )


def write_page(path: Path, text: str, surveyed: Sequence[Surveyed] | None = None) -> Path:
    """Write the page of a fleet; `surveyed` is what was found on its hosts."""
    content = content_of(fleet_of(text).hosts, Lock(), surveyed)
    path.write_text(page(content, template_texts(Path("/nowhere")), MADE), encoding="utf-8")
    return path
