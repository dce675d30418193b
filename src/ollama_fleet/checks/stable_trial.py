"""One setting of a model on a live host: does it hold under a full context and several turns, and what does it take?

The setting goes with the requests (`options`), so no model is written anew, and what was set stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import Refused, Unreachable
from ollama_fleet.api.inference import Answer, ask
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.out_of_memory import Running, When, explained, out_of_memory
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.engine_log import EngineLoad, last_load
from ollama_fleet.checks.filling import SPARE, VARIED, Gauge, gauge, words
from ollama_fleet.checks.observation import Observation
from ollama_fleet.checks.residents import STAY, Residents
from ollama_fleet.checks.trial_steps import Step
from ollama_fleet.planner.largest_stable import START
from ollama_fleet.planner.memory import Estimate

TURNS = 3
ANSWER = 32
"""Tokens of an answer to a full context."""
SERVER_BUSY = 503
SETTLED_AFTER = 10.0
SETTLING = 0.3

Observe = Callable[[str | None], Observation]
"""Looks at the host; given the mark of an earlier look, with the log since then."""


class TimeIsUp(Exception):
    """The time that the user gave is over."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The host on which settings are tried.

    - `room` are the bytes of each GPU for the model, `base` what is in use on it without the model; () where nobody
      can measure, or there is no GPU.
    - `blob` is the hex digest of the model's weights, by which the engine's log tells loads apart.
    - `deadline` is by `time.monotonic`.
    """

    server: Ollama
    residents: Residents
    observe: Observe
    model: ModelName
    blob: str | None
    room: tuple[int, ...]
    base: tuple[int, ...]
    kv_type: str
    deadline: float
    timeout: float
    turns: int = TURNS

    @property
    def left(self) -> float:
        """Seconds for one request. Raises TimeIsUp where there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeIsUp
        return min(self.timeout, left)

    def run(
        self, num_gpu: int, num_ctx: int, num_batch: int | None, estimate: Estimate
    ) -> tuple[Step, EngineLoad | None]:
        """Try one setting; the model is out of memory again afterwards.

        Raises:
            TimeIsUp: before it was known whether it holds.
            Unreachable: the server does not answer any more.
        """
        begun = time.monotonic()
        options = {"num_gpu": num_gpu, "num_ctx": num_ctx}
        if num_batch is not None:
            options["num_batch"] = num_batch
        trial = _Trial(self, options, estimate)
        try:
            trial.go()
        except Refused as error:
            if error.status is not None and (error.status < 500 or error.status == SERVER_BUSY):
                raise
            trial.failed(str(error))
        except Unreachable:
            if time.monotonic() >= self.deadline:
                raise TimeIsUp from None
            raise
        finally:
            self.residents.touch(self.model.short)
            self.unload()
        step = Step(
            num_gpu=num_gpu,
            num_ctx=num_ctx,
            held=not trial.reason,
            reason=trial.reason,
            taken=trial.taken,
            tokens_per_second=_rounded(trial.short.tokens_per_second if trial.short else None),
            full_tokens_per_second=_rounded(trial.full.tokens_per_second if trial.full else None),
            prompt_tokens_per_second=_rounded(trial.full.prompt_tokens_per_second if trial.full else None),
            seconds=round(time.monotonic() - begun, 1),
        )
        return step, trial.log

    def unload(self) -> None:
        """Take everything out of memory and wait until the driver has given the memory back."""
        for loaded in self.server.loaded():
            self.residents.touch(loaded.name)
            self.server.unload(loaded.name)
        end = time.monotonic() + SETTLED_AFTER
        while self.base and time.monotonic() < end:
            used = used_by_device(self.observe(None))
            if used is None or all(
                now <= base + (64 << 20) for now, base in zip(used, self.base, strict=False)
            ):
                return
            time.sleep(SETTLING)


@dataclass
class _Trial:
    bench: Bench
    options: dict[str, Any]
    estimate: Estimate
    reason: str = ""
    loaded: bool = False
    taken: tuple[int, ...] | None = None
    short: Answer | None = None
    full: Answer | None = None
    log: EngineLoad | None = None
    mark: str | None = None

    def go(self) -> None:
        bench, name = self.bench, self.bench.model.short
        self.mark = bench.observe(None).mark or None
        bench.residents.touch(name)
        bench.server.load(name, STAY, options=self.options, timeout=bench.left)
        self.loaded = True
        seen = bench.observe(self.mark)
        if bench.blob is not None and seen.log is not None:
            self.log = last_load(seen.log, bench.blob)
        self._measure(seen)
        if self._misplaced():
            return
        measure, self.short = gauge(
            bench.server,
            name,
            options=self.options,
            context=self.options["num_ctx"],
            keep_alive=STAY,
            timeout=bench.left,
            seed=7,
        )
        for turn in range(bench.turns):
            self.full = self._turn(measure, turn)
            self._measure(bench.observe(None))
            if self._too_much():
                return

    def failed(self, words_: str) -> None:
        """Note why the engine gave up; its log says more than the API, up to 0.24 by far."""
        when: When = "late" if self.loaded else "load"
        found = out_of_memory(words_, when)
        if found is None or found.term is None or not found.certain:
            lines = self.bench.observe(self.mark).log or ()
            found = out_of_memory("\n".join(lines), when) or found
        if found is None:
            self.reason = words_
            return
        setting = Running(self.options["num_ctx"], self.options["num_gpu"], self.bench.kv_type)
        self.reason = explained(found, self.estimate, setting)

    def _turn(self, measure: Gauge, turn: int) -> Answer:
        """Fill the context; the last turn writes beyond its end, as a chat that has grown too long does."""
        context = self.options["num_ctx"]
        last = turn == self.bench.turns - 1
        room = max(context - SPARE - (0 if last else ANSWER), 1)
        answer = ANSWER * (4 if last else 1)
        asked = {**self.options, **VARIED, "num_predict": answer, "seed": turn}
        prompt = words(measure.words_for(room), seed=100 + turn)
        return ask(
            self.bench.server,
            self.bench.model.short,
            prompt,
            options=asked,
            keep_alive=STAY,
            timeout=self.bench.left,
        )

    def _measure(self, seen: Observation) -> None:
        """Keep the most that was in use on each device."""
        if not self.bench.room:
            return
        used = used_by_device(seen)
        if used is not None and len(used) == len(self.bench.base):
            now = tuple(max(size - base, 0) for size, base in zip(used, self.bench.base, strict=True))
        elif len(self.bench.room) == 1 and (found := self._listed()):
            now = (found + START,)  # no driver tells, but the API has the buffers
        else:
            return
        self.taken = now if self.taken is None else tuple(map(max, self.taken, now))

    def _listed(self) -> int:
        loaded = by_name(self.bench.server.loaded()).get(self.bench.model)
        return 0 if loaded is None else loaded.size_vram

    def _misplaced(self) -> bool:
        """Whether the engine took fewer layers to the GPU than asked, which says that they do not fit."""
        asked = min(self.options["num_gpu"], self.estimate.layers_total)
        if self.log is not None and self.log.offloaded is not None and self.log.offloaded < asked:
            self.reason = f"the engine took only {self.log.offloaded} layers to the GPU"
        elif asked and not self._listed():
            self.reason = "the engine fell back to the CPU"
        if self.reason:
            self.taken = None  # of another setting than was asked for
        return bool(self.reason)

    def _too_much(self) -> bool:
        if self.taken is None:
            return False
        short = sum(max(taken - room, 0) for taken, room in zip(self.taken, self.bench.room, strict=True))
        if short:
            self.reason = f"it leaves {-(-short >> 20)} MiB less free than is to stay free"
        return bool(short)


def used_by_device(seen: Observation) -> tuple[int, ...] | None:
    """Bytes in use on each GPU; None where it cannot be told for all of them, or there is none."""
    found = [
        device.memory_total - device.memory_free for device in seen.devices if device.memory_free is not None
    ]
    return tuple(found) if found and len(found) == len(seen.devices) else None


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 2)
