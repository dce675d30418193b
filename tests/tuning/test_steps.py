"""The search over layers and contexts as the command does it, with the stand-in's law in place of a host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from ollama_fleet.checks.stable_trial import TimeIsUp
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.checks.tuning import Search
from ollama_fleet.planner.choice import CONTEXT_STEP
from ollama_fleet.planner.decision import Surroundings
from ollama_fleet.planner.memory import budget_of_size
from tuning.simulated import GIB, MARGIN, Case


@dataclass
class Machine:
    """Tries settings by the law of a case, in place of `stable_trial.Bench`."""

    case: Case
    steps_left: int = 100
    tried: list[tuple[int, int]] = field(default_factory=list)

    @property
    def room(self) -> tuple[int, ...]:
        return (self.case.gpu.free - MARGIN,)

    @property
    def left(self) -> float:
        if not self.steps_left:
            raise TimeIsUp
        return 1.0

    def run(self, num_gpu: int, num_ctx: int, num_batch: int | None, _: object) -> tuple[Step, None]:
        self.steps_left -= 1
        self.tried.append((num_gpu, num_ctx))
        left = replace(self.case, num_ctx=num_ctx).free_at_peak(num_gpu)
        held = left is not None and left >= MARGIN
        taken = None if left is None else (self.case.gpu.free - left,)
        return Step(num_gpu, num_ctx, held, "" if held else "too much", taken, 1.0, 1.0, 1.0, 1.0), None


def tuned(machine: Machine, *, context: bool, num_ctx_min: int | None = None, steps: Any = ()) -> Tuned:
    case = machine.case
    decision = SimpleNamespace(
        num_ctx=case.num_ctx,
        num_batch=512,
        candidate=SimpleNamespace(base=case.model, quantization=case.facts.quantization),
    )
    resolved = SimpleNamespace(name="m", num_ctx_min=num_ctx_min or case.num_ctx)
    around = Surroundings((budget_of_size(case.size, desktop=False),), "f16", None, 1, False, "0.32.15", "k")
    search = Search(
        placement=SimpleNamespace(decision=decision, resolved=resolved),  # type: ignore[arg-type]
        facts=case.facts,
        around=around,
        bench=machine,  # type: ignore[arg-type]
        steps=list(steps),
    )
    return search.tune(context=context)


def holds(case: Case, num_gpu: int, num_ctx: int) -> bool:
    left = replace(case, num_ctx=num_ctx).free_at_peak(num_gpu)
    return left is not None and left >= MARGIN


def test_layers_alone() -> None:
    machine = Machine(Case("deepseek-r1:32b", 16 * GIB, 8192, -0.1))
    found = tuned(machine, context=False)
    assert (found.num_gpu, found.num_ctx, found.error) == (machine.case.best, 8192, None)
    assert found.loads <= machine.case.ladder.budget
    assert found.measurement is not None
    assert found.predicted is not None
    assert found.taken is not None
    assert abs(found.predicted - found.taken) <= 0.01 * found.taken


def test_the_context_grows_as_far_as_it_holds() -> None:
    case = Case("deepseek-r1:14b", 16 * GIB, 4096, 0.08)
    found = tuned(Machine(case), context=True)
    assert found.num_gpu == case.layers
    assert found.num_ctx is not None
    assert found.num_ctx > 4096
    assert holds(case, case.layers, found.num_ctx)
    assert not holds(case, case.layers, found.num_ctx + CONTEXT_STEP)
    assert found.loads <= 8


def test_the_context_gives_way_before_the_layers_where_it_may() -> None:
    case = Case("deepseek-r1:14b", 12 * GIB, 16384, 0.02)
    assert not holds(case, case.layers, 16384)
    assert holds(case, case.layers, 4096)
    found = tuned(Machine(case), context=True, num_ctx_min=4096)
    assert found.num_gpu == case.layers
    assert found.num_ctx is not None
    assert holds(case, case.layers, found.num_ctx)
    assert not holds(case, case.layers, found.num_ctx + CONTEXT_STEP)


def test_when_the_time_is_up_the_best_so_far_is_told_and_the_rest_can_follow() -> None:
    case = Case("deepseek-r1:32b", 16 * GIB, 8192, -0.12)
    whole = Machine(case)
    tuned(whole, context=False)
    assert len(whole.tried) >= 2
    first = tuned(Machine(case, steps_left=1), context=False)
    assert first.error is not None
    assert "--resume" in first.error
    assert first.num_gpu == whole.tried[0][0]
    rest = Machine(case)
    found = tuned(rest, context=False, steps=first.steps)
    assert found.num_gpu == case.best
    assert rest.tried == whole.tried[1:], "what was tried is not tried again"


def test_where_not_one_layer_holds_it_must_run_on_the_cpu() -> None:
    machine = Machine(Case("deepseek-r1:70b", 1 * GIB, 8192, 0.0))
    found = tuned(machine, context=False)
    assert (found.num_gpu, found.error) == (0, None)
    assert machine.tried[-1] == (0, 8192)
