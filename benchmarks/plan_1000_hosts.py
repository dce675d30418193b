"""Time to choose 10 models for each of 1,000 hosts: no two hosts have the same free memory, so nothing repeats.

Then the way that `plan` goes, from the text of a fleet.yaml with 1,000 hosts of five kinds to every decision.

python benchmarks/plan_1000_hosts.py
"""

from __future__ import annotations

import json
import time

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.choice import Candidate, Preferences, choose
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.planner.memory import FitOptions, budgets_of, fit
from ollama_fleet.planner.recommendation import candidates_of
from ollama_fleet.spec.fleet import Fleet

MIB = 2**20
KINDS = ("rtx-4090", "rtx-3090", "rtx-4060-ti-16gb", "l20", "a100-80gb")
LIMIT_SECONDS = 2.0


def models() -> list[tuple[str, str]]:
    """Ten sizes and quantisations."""
    sizes = ("1.5b", "7b", "8b", "14b", "32b")
    return [(size, quantization) for size in sizes for quantization in ("Q4_K_M", "Q8_0")]


def planned(hosts: int) -> tuple[float, float]:
    """Seconds, of the clock and of the processor, to find every model's placement on so many hosts."""
    every = {(one.size, one.quantization): one for one in candidates_of(families()["deepseek-r1"])}
    wanted: list[list[Candidate]] = [[every[name]] for name in models()]
    for group in wanted:
        fit(group[0].facts, (), FitOptions())
    preferences = [Preferences(quantizations=(group[0].quantization,), release="0.32.15") for group in wanted]
    machines = []
    for host in range(hosts):
        device = Device.declared(KINDS[host % len(KINDS)], 0)
        budget = budgets_of([device])[0]
        machines.append(
            (type(budget)(budget.name, budget.total, budget.free - host * 4096, budget.bandwidth),)
        )
    start, worked = time.perf_counter(), time.process_time()
    for gpus in machines:
        for group, preference in zip(wanted, preferences, strict=True):
            choose(group, gpus, preference)
    return time.perf_counter() - start, time.process_time() - worked


def from_text(hosts: int) -> tuple[float, float]:
    """Seconds to read a fleet of so many hosts, and to decide ten models on each."""
    recipes = {
        f"m{size}-{quantization}": {
            "from": f"deepseek-r1:{size}",
            "quantization": [quantization, "Q4_K_M"],
            "num_gpu": "auto",
            "num_ctx": 8192,
            "num_ctx_min": 4096,
        }
        for size, quantization in models()
    }
    rack = {f"h{n}": {"gpus": [KINDS[n % len(KINDS)]], "models": list(recipes)} for n in range(hosts)}
    text = json.dumps({"version": 1, "release": {"version": "0.32.15"}, "models": recipes, "hosts": rack})
    start = time.perf_counter()
    fleet = Fleet.parse(text, catalogue().keys(), published=published)
    read = time.perf_counter()
    lock = Lock()
    for host in fleet.hosts:
        host_decisions(host, declared_devices(host) or (), lock)
    return read - start, time.perf_counter() - read


def main() -> None:
    """Print the times."""
    for hosts in (250, 500, 1000):
        seconds, worked = planned(hosts)
        each = 1e6 * worked / hosts / len(models())
        print(
            f"{hosts:5d} hosts × {len(models())} models: {seconds:5.2f} s"
            f" ({worked:.2f} s of one core, {each:.0f} µs each)"
        )
    for hosts in (250, 500, 1000):
        read, decided = from_text(hosts)
        print(f"{hosts:5d} hosts out of fleet.yaml: read in {read:.2f} s, decided in {decided:.2f} s")
    print(f"limit for 1000 hosts: {LIMIT_SECONDS} s")


if __name__ == "__main__":
    main()
