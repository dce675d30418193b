"""Which rung of a ladder to try next, until the largest that holds is known.

A ladder is a row of settings each of which takes more of the GPUs than the one before: layers (`num_gpu` 0, 1, 2 …)
or contexts. A rung costs minutes to try, for the model is loaded anew, so as few as possible are tried: the first by
what was planned, the next by what was measured (a line through what the rungs took), and by halving where neither
leads on. Everything follows from the ladder and what was seen on it, so a search that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 2**20

START = 300 * MIB
"""What an engine takes on a device beside its buffers, as long as nothing was measured (see `memory.reserve`)."""
DOUBT = 0.10
"""By how much a plan that nothing was measured for may be too low. The first try should hold: it then tells what a
layer takes, and running out tells only that it is too much."""
SURE = 0.8
"""A rung is taken to be too much untried where this share of its step would already be."""
SLOPES = (0.5, 2.0)
"""Least and most by which what was measured may differ from what was planned, from one rung to another."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs 0 … `top`; bytes.

    - `planned` are, by rung, the buffers on each device.
    - `room` is what each device has for them: free before anything is loaded, less what is to stay free.
    - `doubt` is the share by which the plan may be too low.
    """

    planned: tuple[tuple[int, ...], ...]
    room: tuple[int, ...]
    doubt: float = DOUBT

    @property
    def top(self) -> int:
        """The highest rung."""
        return len(self.planned) - 1

    @property
    def budget(self) -> int:
        """The most rungs that a search tries, as long as nothing that was seen contradicts itself."""
        return max(self.top - 1, 0).bit_length() + 2


@dataclass(frozen=True, slots=True)
class Seen:
    """One try: whether the rung held, and what it took on each device at its peak (None: nobody measured)."""

    rung: int
    held: bool
    taken: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """The next rung to try."""

    rung: int


@dataclass(frozen=True, slots=True)
class Found:
    """The largest rung that holds. `lacks` is what the next one would want more than there is; None: it was tried,
    or there is no next one."""

    rung: int
    lacks: int | None = None


def next_step(ladder: Ladder, seen: Sequence[Seen]) -> Try | Found:
    """Decide what to try next.

    Rung 0 is taken to hold. Whatever did not hold once does not hold, whatever else was seen.
    """
    high = min((one.rung for one in seen if not one.held), default=ladder.top + 1)
    low = max((one.rung for one in seen if one.held and one.rung < high), default=0)
    if high - low <= 1:
        return Found(low)
    measured = [one for one in seen if one.taken is not None]
    if any(one.rung == low and one.held for one in measured):
        lacks = _lacks(ladder, measured, low + 1, SURE)
        if lacks > 0:
            return Found(low, _lacks(ladder, measured, low + 1))
    wanted = _measured_best(ladder, measured, low, high) if measured else _planned_best(ladder, seen, high)
    return Try(_within_budget(ladder, len(seen), low, high, wanted))


def _planned_best(ladder: Ladder, seen: Sequence[Seen], high: int) -> int:
    """The largest rung that the plan lets hold. Each that failed says that the plan is too low by more."""
    factor = 1.0 + ladder.doubt
    for one in seen:
        if not one.held:
            shares = zip(ladder.room, ladder.planned[one.rung], strict=True)
            factor = max(
                factor, min((max(room - START, 0) / max(size, 1) for room, size in shares), default=1.0)
            )
            factor *= 1.0 + ladder.doubt
    held = max((one.rung for one in seen if one.held), default=0)
    if held:
        return (held + high + 1) // 2
    for rung in range(high - 1, 0, -1):
        pairs = zip(ladder.room, ladder.planned[rung], strict=True)
        if all(not size or START + size * factor <= room for room, size in pairs):
            return rung
    return 1


def _measured_best(ladder: Ladder, measured: Sequence[Seen], low: int, high: int) -> int:
    """The largest rung between two that holds by what was measured; at least the one above `low`."""
    for rung in range(high - 1, low + 1, -1):
        if _lacks(ladder, measured, rung) <= 0:
            return rung
    return low + 1


def _lacks(ladder: Ladder, measured: Sequence[Seen], rung: int, share: float = 1.0) -> int:
    """Bytes that a rung wants more than there is, on the device where it is most; `share` of the step to it counts."""
    near = sorted(measured, key=lambda one: (abs(one.rung - rung), -one.rung))
    short = []
    for device, room in enumerate(ladder.room):
        base = near[0]
        slope = _slope(ladder, near, device)
        step = (ladder.planned[rung][device] - ladder.planned[base.rung][device]) * slope
        taken = base.taken[device] if base.taken else 0
        if not taken and ladder.planned[rung][device]:
            taken = START
        short.append(int(taken + step * share - room))
    return max(short, default=0)


def _slope(ladder: Ladder, near: Sequence[Seen], device: int) -> float:
    """Bytes measured for each byte planned, on a device."""
    first = near[0]
    assert first.taken is not None
    for other in near[1:]:
        planned = ladder.planned[first.rung][device] - ladder.planned[other.rung][device]
        if planned and other.taken is not None:
            return _bounded((first.taken[device] - other.taken[device]) / planned)
    planned = ladder.planned[first.rung][device]
    return _bounded((first.taken[device] - START) / planned) if planned else 1.0


def _bounded(slope: float) -> float:
    return min(max(slope, SLOPES[0]), SLOPES[1])


def _within_budget(ladder: Ladder, tried: int, low: int, high: int, wanted: int) -> int:
    """The rung nearest to the wanted one from which halving still ends within the budget."""
    reach = 1 << max(ladder.budget - tried - 1, 0)
    least, most = max(high - reach, low + 1), min(low + reach, high - 1)
    if least > most:
        return (low + high) // 2
    return min(max(wanted, least), most)
