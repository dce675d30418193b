"""The largest `num_gpu`, and the largest context if asked, that holds on a live host: the search, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ollama_fleet.api.errors import ApiError
from ollama_fleet.artifacts.measured import Correction, Measurement, Terms
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.checks.engine_log import EngineLoad
from ollama_fleet.checks.stable_trial import Bench, TimeIsUp
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.planner.choice import CONTEXT_STEP
from ollama_fleet.planner.decision import Surroundings
from ollama_fleet.planner.largest_stable import DOUBT, START, Found, Ladder, next_step
from ollama_fleet.planner.memory import Estimate, GpuBudget, fit
from ollama_fleet.planner.memory.reserve import MEASURED_MARGIN
from ollama_fleet.planner.placement import Placement

KNOWN_DOUBT = 0.02
"""By how much a plan may be too low that was corrected by an earlier measurement."""

Told = Callable[[Step], None]


@dataclass
class Search:
    """The search for one placement.

    Args:
        placement: the planned model; its `num_ctx` and `num_batch` are those of the trials.
        facts: of its base.
        around: the instance, its GPUs with the memory that is free there now.
        bench: where settings are tried.
        correction: what an earlier measurement says.
        steps: those of an earlier search that was cut off.
        told: is given each step as it is made.
    """

    placement: Placement
    facts: ModelFacts
    around: Surroundings
    bench: Bench
    correction: Correction | None = None
    steps: list[Step] = field(default_factory=list)
    told: Told = lambda _: None
    logs: dict[tuple[int, int], EngineLoad | None] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """All that can be on GPUs: the repeating layers and the output."""
        return self.facts.block_count + 1

    def tune(self, *, context: bool) -> Tuned:
        """Search; what was found in the time that there was."""
        decision = self.placement.decision
        candidate = decision.candidate
        result = Tuned(
            model=self.placement.resolved.name,
            base=candidate.base,
            layers=self.layers,
            steps=(),
            num_ctx=decision.num_ctx,
            quantization=candidate.quantization or self.facts.quantization,
        )
        found: tuple[int, int] | None = None
        lacks: int | None = None
        error: str | None = None
        try:
            num_gpu, lacks = self._layers(decision.num_ctx)
            found = num_gpu, decision.num_ctx
            if context:
                num_gpu, num_ctx, lacks = self._context(num_gpu, decision.num_ctx, lacks)
                found = num_gpu, num_ctx
        except TimeIsUp:
            error = "the time is up; --resume goes on from here, --time-limit gives more"
        except ApiError as failure:
            error = str(failure)
        if found is None and (held := [step for step in self.steps if step.held]):
            best = max(held, key=lambda step: (step.num_gpu, step.num_ctx))
            found = best.num_gpu, best.num_ctx
        result = replace(result, steps=tuple(self.steps), lacks=lacks, error=error)
        return (
            result if found is None else self._measured(replace(result, num_gpu=found[0], num_ctx=found[1]))
        )

    def _layers(self, num_ctx: int) -> tuple[int, int | None]:
        if not self.bench.room and not self.around.gpus:
            return self._on_cpu(num_ctx)
        ladder = self._ladder([(number, num_ctx) for number in range(self.layers + 1)])
        rung, lacks = self._climbed(ladder, [(number, num_ctx) for number in range(self.layers + 1)])
        if rung == 0:
            self._on_cpu(num_ctx)
        return rung, lacks

    def _on_cpu(self, num_ctx: int) -> tuple[int, int | None]:
        """Without a GPU, or where not one layer holds, there is nothing to search; but it must run."""
        done = next((step for step in self.steps if (step.num_gpu, step.num_ctx) == (0, num_ctx)), None)
        step = done or self._try(0, num_ctx)
        if not step.held:
            raise ApiError(f"it does not even run on the CPU: {step.reason}")
        return 0, None

    def _context(self, num_gpu: int, num_ctx: int, lacks: int | None) -> tuple[int, int, int | None]:
        """The largest context: for all layers, down to what the user will take; else with the layers that hold."""
        least = self.placement.resolved.num_ctx_min
        if num_gpu < self.layers and least < num_ctx and self.around.gpus:
            fewer = [(self.layers, tokens) for tokens in range(least, num_ctx, CONTEXT_STEP)]
            settings = [(0, least), *fewer]  # what holds is not known here for any of them
            rung, short = self._climbed(self._ladder(settings), settings)
            if rung:
                return *settings[rung], short
        most = self.facts.context_length or num_ctx
        settings = [
            (num_gpu, tokens) for tokens in (num_ctx, *range(_above(num_ctx), most + 1, CONTEXT_STEP))
        ]
        if not self.around.gpus or not num_gpu or len(settings) == 1:
            return num_gpu, num_ctx, lacks
        rung, short = self._climbed(self._ladder(settings), settings)
        return *settings[rung], short

    def _climbed(self, ladder: Ladder, settings: Sequence[tuple[int, int]]) -> tuple[int, int | None]:
        """The largest rung that holds, and what the next would lack."""
        places = {setting: rung for rung, setting in enumerate(settings)}
        while True:
            known = [
                (step, places[step.num_gpu, step.num_ctx])
                for step in self.steps
                if (step.num_gpu, step.num_ctx) in places
            ]
            following = next_step(ladder, [step.seen(rung) for step, rung in known])
            if isinstance(following, Found):
                return following.rung, following.lacks
            self._try(*settings[following.rung])

    def _try(self, num_gpu: int, num_ctx: int) -> Step:
        self.bench.left  # noqa: B018 - raises where the time is up
        estimate = self.estimate(num_gpu, num_ctx, self.correction)
        step, log = self.bench.run(num_gpu, num_ctx, self.placement.decision.num_batch, estimate)
        self.logs[num_gpu, num_ctx] = log
        self.steps.append(step)
        self.told(step)
        return step

    def _ladder(self, settings: Sequence[tuple[int, int]]) -> Ladder:
        planned = [buffers(self.estimate(*setting, self.correction)) for setting in settings]
        doubt = DOUBT if self.correction is None else KNOWN_DOUBT
        room = self.bench.room or tuple(gpu.free for gpu in self.around.gpus)
        return Ladder(tuple(planned), room, doubt)

    def estimate(self, num_gpu: int, num_ctx: int, correction: Correction | None) -> Estimate:
        """What a setting takes by the plan."""
        options = self.around.options(num_ctx, num_gpu, self.placement.decision.num_batch)
        return fit(self.facts, self.around.gpus, options, correction=correction)

    def _measured(self, result: Tuned) -> Tuned:
        """Hold what the best setting took against the plan."""
        step = result.best
        if step is None or step.taken is None or not step.num_gpu:
            return result
        plain = self.estimate(step.num_gpu, step.num_ctx, None)
        one = measurement(
            result.base, step, plain, self.logs.get((step.num_gpu, step.num_ctx)), self.around.kv_type
        )
        again = self.estimate(step.num_gpu, step.num_ctx, one.correction)
        used = [device for device in again.devices if device.weights]
        return replace(
            result,
            measurement=one,
            planned_before=sum(buffers(plain)) + START * len(used),
            predicted=sum(device.total - MEASURED_MARGIN for device in used),
            taken=sum(step.taken),
        )


def measurement(base: str, step: Step, plain: Estimate, log: EngineLoad | None, kv_type: str) -> Measurement:
    """What a step took, term by term where the engine's log tells, else each term by the same share."""
    assert step.taken is not None
    planned = Terms(
        weights=sum(device.weights for device in plain.devices),
        kv=sum(device.kv for device in plain.devices),
        compute=sum(device.compute for device in plain.devices),
    )
    places = [] if log is None else list(log.devices.values())
    if places:
        observed = Terms(
            weights=sum(place.weights for place in places),
            kv=sum(place.kv for place in places),
            compute=sum(place.compute for place in places),
        )
        pairs = zip(step.taken, [place.total for place in places], strict=False)
        beside = max(max(taken - total, 0) for taken, total in pairs)
    else:
        beside = START
        held = sum(max(taken - START, 0) for taken in step.taken)
        observed = Terms(
            weights=planned.weights * held // max(planned.total, 1),
            kv=planned.kv * held // max(planned.total, 1),
            compute=planned.compute * held // max(planned.total, 1),
        )
    return Measurement(
        model=base,
        num_gpu=step.num_gpu,
        num_ctx=step.num_ctx,
        kv_cache_type=kv_type,
        planned=planned,
        observed=observed,
        beside=beside,
    )


def buffers(estimate: Estimate) -> tuple[int, ...]:
    """Bytes on each device without the reserve."""
    return tuple(device.total - device.reserve for device in estimate.devices)


def with_free(gpus: Sequence[GpuBudget], free: Sequence[int]) -> tuple[GpuBudget, ...]:
    """The GPUs with what is free on them now."""
    if len(gpus) != len(free):
        return tuple(gpus)
    return tuple(replace(gpu, free=amount, measured=True) for gpu, amount in zip(gpus, free, strict=True))


def _above(num_ctx: int) -> int:
    return (num_ctx // CONTEXT_STEP + 1) * CONTEXT_STEP
