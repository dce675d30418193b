"""The arithmetic of a download: what is there, how fast the rest comes, and when it is all there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

WINDOW = 15.0
"""Seconds over which the rate is taken: long enough to be calm, short enough to show that a line has died."""
SETTLED = 1.0
"""Seconds before a rate is worth telling."""
SAMPLE_EVERY = 0.5
"""Seconds between two that are kept; beside them always the last one."""


@dataclass(slots=True)
class Transfer:
    """Something on its way to a host, in one or more pieces. Sizes are bytes, times seconds of one steady clock.

    What a piece has when it is first heard of was there before, from a pull that broke off: it is done, and says
    nothing about the line.
    """

    expected: int = 0
    """Bytes of all pieces together, where that is known before; what is there already counts."""
    complete: bool = False
    """Its sender has said that nothing more comes."""
    received: int = 0
    """Bytes that came while we watched; those that came twice count twice."""
    _completed: dict[str, int] = field(default_factory=dict)
    _totals: dict[str, int] = field(default_factory=dict)
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def hear(self, now: float, piece: str, completed: int, total: int) -> None:
        """Take in how much of a piece is there."""
        before = self._completed.get(piece, completed)
        self.received += max(completed - before, 0)
        self._completed[piece] = completed
        self._totals[piece] = max(total, completed)
        if len(self._samples) > 1 and now - self._samples[-2][0] < SAMPLE_EVERY:
            self._samples.pop()
        self._samples.append((now, self.received))
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    @property
    def begun(self) -> bool:
        """Something has been heard of it."""
        return self.complete or bool(self._samples)

    @property
    def size(self) -> int:
        """Bytes of all of it, as far as is known."""
        return max(self.expected, sum(self._totals.values()))

    @property
    def done(self) -> int:
        """Bytes that are there, whenever they came."""
        return self.size if self.complete else sum(self._completed.values())

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return self.size - self.done

    @property
    def share(self) -> float:
        """How much of it is there, 0 to 1."""
        return self.done / self.size if self.size else float(self.complete)

    def rate(self, now: float) -> float | None:
        """Bytes per second of late; None where that cannot be told yet, or it is over."""
        if self.complete or not self._samples:
            return None
        since, received = next(
            (sample for sample in reversed(self._samples) if sample[0] <= now - WINDOW), self._samples[0]
        )
        return (self.received - received) / (now - since) if now - since >= SETTLED else None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all is there at the present rate; None where nobody can tell."""
        if not self.left:
            return 0.0
        rate = self.rate(now)
        return self.left / rate if rate else None


def together(now: float, hosts: Iterable[Iterable[Transfer]]) -> tuple[int, int, float | None, float | None]:
    """Sum up the transfers of hosts: bytes done, bytes of all, bytes per second, seconds left.

    Nobody is through before the slowest host is, nor before all that is left has come at the rate of all together.
    """
    done = size = left = 0
    rates: list[float] = []
    waits: list[float] = []
    for transfers in hosts:
        mine = list(transfers)
        done += sum(transfer.done for transfer in mine)
        size += sum(transfer.size for transfer in mine)
        still = sum(transfer.left for transfer in mine)
        rate = sum(transfer.rate(now) or 0.0 for transfer in mine)
        left += still
        if rate:
            rates.append(rate)
            waits.append(still / rate)
    if not left:
        return done, size, None, 0.0
    if not rates:
        return done, size, None, None
    return done, size, sum(rates), max(*waits, left / sum(rates))
