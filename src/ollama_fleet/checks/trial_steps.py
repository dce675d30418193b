"""What a search for the largest stable setting saw and came to: plain data for table, JSON and resuming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ollama_fleet.artifacts.measured import Measurement
from ollama_fleet.planner.largest_stable import Seen
from ollama_fleet.planner.layout import on_instance


@dataclass(frozen=True, slots=True)
class Step:
    """One setting, tried: loaded, and asked until its context was full, several times.

    - `taken` are bytes by device at the peak, None where nothing could measure it; `short` those that each device had
      less than was to stay free, in all.
    - `tokens_per_second` are those of a short question, `full_tokens_per_second` with a full context,
      `prompt_tokens_per_second` those of reading the long prompt; None where it did not come to that.
    - `reason` says why it did not hold, empty where it did; `seconds` is how long the step took.
    """

    num_gpu: int
    num_ctx: int
    held: bool
    reason: str
    taken: tuple[int, ...] | None
    tokens_per_second: float | None
    full_tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    seconds: float

    def seen(self, rung: int) -> Seen:
        """It as the search takes it."""
        return Seen(rung, self.held, self.taken)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self)
        return {**data, "taken": None if self.taken is None else list(self.taken)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The opposite. Raises TypeError or ValueError for anything else."""
        taken = data["taken"]
        numbers = None if taken is None else tuple(int(size) for size in taken)
        return cls(**{**data, "taken": numbers})


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of one model on one host, or on one of its instances.

    - `num_gpu` of `layers` layers and `num_ctx` tokens are the largest that held; None where none was found in time.
    - `lacks`: bytes that the next larger setting would want more than there is; None where it was tried.
    - `measurement` is what it took beside what was planned; `predicted` and `taken` are bytes on all GPUs: what the
      plan says with that measurement, and what was seen.
    - `error` says why there is no result, or not the whole one.
    - `instance` is which of several servers it was found on, empty for the only one; `kinds` are that server's GPUs.
    """

    model: str
    base: str
    layers: int
    steps: tuple[Step, ...]
    num_gpu: int | None = None
    num_ctx: int | None = None
    lacks: int | None = None
    measurement: Measurement | None = None
    planned_before: int | None = None
    predicted: int | None = None
    taken: int | None = None
    error: str | None = None
    quantization: str | None = None
    instance: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The model, and where it is one of several servers' which."""
        return on_instance(self.model, self.instance)

    @property
    def best(self) -> Step | None:
        """The step of the result."""
        found = (
            step
            for step in self.steps
            if step.held and (step.num_gpu, step.num_ctx) == (self.num_gpu, self.num_ctx)
        )
        return next(found, None)

    @property
    def loads(self) -> int:
        """How often the model was loaded to find it."""
        return len(self.steps)
