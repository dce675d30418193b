"""What it takes to plan a fleet of 1,000 hosts with 10 models each, from the text of fleet.yaml to the lines that
`plan` prints. Two fleets: a rack of five kinds of machines, as people have them, and one in which no two hosts are
alike, so that nothing can be used twice.

    python benchmarks/plan_1000_hosts.py

Times are of one core. The clock says more on a machine that is busy with something else. Exit 1 where the first
fleet takes more than two seconds of processor time, or where eight times the hosts take much more than eight times
as long.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import yaml

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.outputs.columns import columns
from ollama_fleet.outputs.plans import plan_remarks, plan_rows, planned_host
from ollama_fleet.planner.decision import Decisions
from ollama_fleet.spec.fleet import Fleet

KINDS = ("rtx-4090", "rtx-3090", "rtx-4060-ti-16gb", "l20", "a100-80gb")
SIZES = ("1.5b", "7b", "8b", "14b", "32b")
LIMIT_SECONDS = 2.0
MOST_GROWTH = 1.5
"""How much longer than in proportion a fleet of eight times the size may take."""


@dataclass(frozen=True)
class Times:
    """Seconds of processor time, and of the clock for all."""

    read: float
    decided: float
    printed: float
    clock: float

    @property
    def total(self) -> float:
        """From the text to the lines."""
        return self.read + self.decided + self.printed


def fleet_text(hosts: int, *, alike: bool) -> str:
    """A fleet.yaml: hosts of five kinds in one group each, or hosts each of which wants a context of its own."""
    recipes = {
        f"m{size}-{quantization}": {
            "from": f"deepseek-r1:{size}",
            "quantization": [quantization, "Q4_K_M"],
            "num_gpu": "auto",
            "num_ctx": 8192,
            "num_ctx_min": 4096,
        }
        for size in SIZES
        for quantization in ("Q4_K_M", "Q8_0")
    }
    names = [f"gpu-{number:04}" for number in range(hosts)]
    rack: dict[str, object] = {
        name: {"address": f"10.0.{place // 250}.{place % 250 + 1}", "gpus": [KINDS[place % len(KINDS)]]}
        | ({} if alike else {"models": {model: {"num_ctx": 5000 + place} for model in recipes}})
        for place, name in enumerate(names)
    }
    document: dict[str, object] = {"version": 1, "release": {"version": "0.32.15"}, "models": recipes}
    if alike:
        document["groups"] = {"rack": {"hosts": names, "models": list(recipes)}}
    return yaml.safe_dump({**document, "hosts": rack}, sort_keys=False)


def planned(text: str) -> Times:
    """Read, decide, print."""
    clock, start = time.perf_counter(), time.process_time()
    fleet = Fleet.parse(text, catalogue().keys(), published=published)
    read = time.process_time()
    lock = Lock()
    decisions = Decisions(lock)
    hosts = [planned_host(host, lock, decisions) for host in fleet.hosts]
    decided = time.process_time()
    "\n".join([*columns(plan_rows(hosts)), *plan_remarks(hosts)])
    printed = time.process_time()
    return Times(read - start, decided - read, printed - decided, time.perf_counter() - clock)


def main() -> int:
    """Print the times."""
    for size in families()["deepseek-r1"].sizes.values():
        for model in size.models.values():
            assert model.facts  # the catalogue is read once, however many hosts there are
    missed = False
    for alike, counts in ((True, (250, 500, 1000, 2000)), (False, (125, 250, 500, 1000))):
        print("hosts of five kinds in a group:" if alike else "no two hosts alike:")
        found = {}
        for hosts in counts:
            text = fleet_text(hosts, alike=alike)
            times = found[hosts] = planned(text)
            print(
                f"{hosts:6d} hosts × 10 models, {len(text) / 1e3:6.0f} kB: {times.total:5.2f} s of one core"
                f" (read {times.read:.2f}, decided {times.decided:.2f}, printed {times.printed:.2f}),"
                f" {times.clock:.2f} s by the clock"
            )
        growth = found[counts[-1]].total / found[counts[0]].total / (counts[-1] / counts[0])
        print(f"       {counts[-1] // counts[0]} times the hosts cost {growth:.2f} × in proportion")
        missed = missed or growth > MOST_GROWTH or (alike and found[1000].total > LIMIT_SECONDS)
    print(f"limit for 1000 hosts of five kinds: {LIMIT_SECONDS} s{'; MISSED' if missed else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
