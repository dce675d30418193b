"""Figures of a benchmark: medians with their spread, and how two runs compare. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

LEAST_NOISE = 0.05
"""Two runs that differ by less are never told apart: clocks, temperatures and caches waver by as much."""

RATES = ("prompt", "generation", "throughput")


@dataclass(frozen=True, slots=True)
class Series:
    """Repeated figures of one kind: their median, their quartiles, and how many they are."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """The series of some figures; None for none."""
        if not values:
            return None
        if len(values) == 1:
            low = high = values[0]
        else:
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        median = statistics.median(values)
        return cls(round(median, 3), round(low, 3), round(high, 3), len(values))

    @property
    def spread(self) -> float:
        """The distance of the quartiles as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One load pattern: `fill` percent of the context in use, `concurrency` requests at once. Tokens per second.

    - `prompt` and `generation` are each request's own rates, from the server's nanoseconds.
    - `throughput` is all generated tokens of the requests that ran together, by the wall clock of whoever asked.
    """

    fill: int
    concurrency: int
    prompt: Series | None
    generation: Series | None
    throughput: Series | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The opposite. Raises KeyError or TypeError for anything else."""
        series = {name: None if data[name] is None else Series(**data[name]) for name in RATES}
        return cls(int(data["fill"]), int(data["concurrency"]), **series)


@dataclass(frozen=True, slots=True)
class Compared:
    """One rate of one pattern, before and now; `noise` is the share below which a difference says nothing."""

    where: str
    rate: str
    before: float
    now: float
    noise: float

    @property
    def change(self) -> float:
        """The difference as a share of what was before."""
        return (self.now - self.before) / self.before if self.before else 0.0

    @property
    def regressed(self) -> bool:
        """It is slower by more than the noise."""
        return self.change < -self.noise

    def __str__(self) -> str:
        word = "slower" if self.change < 0 else "faster"
        return (
            f"{self.where}: {self.rate} {self.before:g} → {self.now:g} tokens/s, {abs(self.change):.0%} {word} "
            f"(noise {self.noise:.0%})"
        )


def compare(where: str, before: Sequence[Run], now: Sequence[Run]) -> Iterator[Compared]:
    """The rates of the patterns that both runs have.

    The noise is the wider of the two spreads, but at least `LEAST_NOISE`.
    """
    earlier = {(run.fill, run.concurrency): run for run in before}
    for run in now:
        other = earlier.get((run.fill, run.concurrency))
        if other is None:
            continue
        place = f"{where} at {run.fill} % fill, {run.concurrency} at once"
        for rate in RATES:
            old, new = getattr(other, rate), getattr(run, rate)
            if old is not None and new is not None and old.median:
                noise = max(LEAST_NOISE, old.spread, new.spread)
                yield Compared(place, rate, old.median, new.median, noise)
