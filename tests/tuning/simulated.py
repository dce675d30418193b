"""GPUs that are not there: a search held against the stand-in's own law of memory, without any server.

The law is `ollama_sim.memory` itself, the one that the stand-in's server loads by.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.largest_stable import Found, Ladder, Seen, next_step
from ollama_fleet.planner.memory import FitOptions, budget_of_size, fit
from ollama_sim import gguf, memory
from ollama_sim.machine import Gpu

GIB, MIB = 2**30, 2**20
SIZES = (4, 6, 8, 10, 12, 16, 24, 32)
MODELS = (
    "deepseek-r1:7b",
    "deepseek-r1:8b-llama-distill-q8_0",
    "deepseek-r1:14b",
    "deepseek-r1:32b",
    "deepseek-r1:32b-qwen-distill-q8_0",
    "deepseek-r1:70b",
)
CONTEXTS = (2048, 8192, 32768)
MARGIN = 128 * MIB
TUTORIAL_START = 5
"""Where the tutorial begins to count up."""


@dataclass(frozen=True)
class Case:
    """One simulated machine and what is to run on it; sizes in bytes.

    `noise` is by how much the law takes more than its formula, `growth` what a full context takes beside the buffers,
    `jitter` by how much the memory that others use wavers.
    """

    model: str
    size: int
    num_ctx: int
    noise: float
    growth: int = 0
    jitter: int = 0
    seed: int = 0
    measures: bool = True

    @property
    def name(self) -> str:
        return f"{self.model} on {self.size / GIB:g} GiB, num_ctx {self.num_ctx}, noise {self.noise:+.0%}"

    @cached_property
    def facts(self) -> ModelFacts:
        found = find_model(ModelName.parse(self.model))
        assert found is not None, self.model
        return found.facts

    @cached_property
    def gpu(self) -> Gpu:
        return Gpu("GPU-0", "simulated", self.size, self.size - self.size // 64)

    @cached_property
    def need(self) -> memory.Footprint:
        facts = self.facts
        layers = list(facts.each_layer())
        header = gguf.Header(
            {
                "general.architecture": "simulated",
                "simulated.embedding_length": facts.embedding_length,
                "simulated.block_count": facts.block_count,
            }
        )
        pretend = {
            "weights_bytes": facts.total_bytes - facts.token_embd_bytes,
            "layers": facts.block_count + 1,
            "kv_bytes_per_token": sum(run.key_width + run.value_width for run in layers) * 2,
        }
        return memory.footprint(
            header, context=self.num_ctx, parallel=1, kv_type="f16", pretend=pretend, noise=self.noise
        )

    @property
    def layers(self) -> int:
        return self.need.layers

    def free_at_peak(self, num_gpu: int, *, wavering: int = 0) -> int | None:
        """Bytes left once the context is full; None where it ran out, at load or late."""
        free = self.gpu.free - wavering
        try:
            layout = memory.place(self.need, [self.gpu], {self.gpu.id: free}, num_gpu)
        except memory.DoesNotFitError:
            return None
        if not layout.vram:
            return free
        left = free - layout.vram - memory.CONTEXT_BYTES - self.growth
        return left if left >= 0 else None

    def placed(self, num_gpu: int) -> memory.Share:
        """What lies on the device with so many layers there, which must fit."""
        return memory.place(self.need, [self.gpu], {self.gpu.id: self.gpu.free}, num_gpu).gpus[self.gpu.id]

    @cached_property
    def best(self) -> int:
        """The largest number of layers that leaves the margin free, found by trying every one."""
        return max(n for n in range(self.layers + 1) if (self.free_at_peak(n) or -1) >= MARGIN or n == 0)

    @cached_property
    def ladder(self) -> Ladder:
        planned = []
        gpus = [budget_of_size(self.size, desktop=False)]
        for number in range(self.layers + 1):
            options = FitOptions(num_ctx=self.num_ctx, num_gpu=number, num_batch=512, release="0.32.15")
            estimate = fit(self.facts, gpus, options)
            planned.append(tuple(device.total - device.reserve for device in estimate.devices))
        return Ladder(tuple(planned), (self.gpu.free - MARGIN,))

    def counted_up(self) -> int:
        """Loads that the tutorial's way takes: 5 layers, then one more at a time, until one does not hold."""
        last = self.layers if self.best == self.layers else self.best + 1
        return max(last - TUTORIAL_START + 1, 1)


@dataclass(frozen=True)
class Outcome:
    """What a search came to."""

    case: Case
    found: Found
    seen: tuple[Seen, ...]

    @property
    def loads(self) -> int:
        return len(self.seen)


def searched(case: Case, turns: int = 3) -> Outcome:
    """Search a case as the command does: load, fill the context, several turns, read the memory at the peak."""
    seen: list[Seen] = []
    wavering = random.Random(f"{case.seed}:{case.name}")
    while not isinstance(step := next_step(case.ladder, seen), Found):
        lefts = [
            case.free_at_peak(step.rung, wavering=wavering.randint(0, case.jitter) if case.jitter else 0)
            for _ in range(turns)
        ]
        known = [left for left in lefts if left is not None]
        if len(known) < turns:
            seen.append(Seen(step.rung, held=False))
            continue
        left = min(known)
        taken = (case.gpu.free - left,) if case.measures else None
        seen.append(Seen(step.rung, left >= MARGIN or not case.measures, taken))
        assert len(seen) <= 4 * case.ladder.budget, "the search does not end"
    return Outcome(case, step, tuple(seen))


def matrix(seed: int) -> Iterator[Case]:
    """All sizes, models and contexts, each with a noise of its own of up to 15 %."""
    for size in SIZES:
        for model in MODELS:
            for num_ctx in CONTEXTS:
                drawn = random.Random(f"{seed}:{size}:{model}:{num_ctx}")
                growth = drawn.choice((0, 0, 64, 256)) * MIB
                yield Case(model, size * GIB, num_ctx, drawn.uniform(-0.15, 0.15), growth)
