"""A run in plain lines, for a log or a pipe: one for each thing begun, and now and then one for what is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyinfra import logger
from pyinfra.api.host import Host

from ollama_fleet.operations.durations import duration_words
from ollama_fleet.operations.transfer import Transfer
from ollama_fleet.planner.sizes import large_size_words

AT_MOST_EVERY = 10.0
"""Seconds between two lines about one transfer."""
AT_LEAST_EVERY = 60.0
"""Seconds after which there is a line however little has come."""
STEP = 0.1
"""Of the whole: where so much more has come, there is a line."""


@dataclass(slots=True)
class _Told:
    """What was last said of a transfer."""

    transfer: Transfer
    at: float
    share: float = 0.0


@dataclass(slots=True)
class ProgressLines:
    """An observer that logs."""

    clock: Callable[[], float] = time.monotonic
    _told: dict[tuple[str, str], _Told] = field(default_factory=dict)
    _doing: dict[str, str] = field(default_factory=dict)

    def expect(self, at: Host, name: str, size: int) -> None:
        """Keep how large it is."""
        self._told[at.name, name] = _Told(Transfer(size), self.clock())

    def begin(self, at: Host, doing: str) -> None:
        """Say it, once."""
        if self._doing.get(at.name) != doing:
            self._doing[at.name] = doing
            logger.info(f"{at.print_prefix}{doing}")

    def transfer(self, at: Host, name: str, status: str, piece: str, completed: int, total: int) -> None:
        """Say how far it is, now and then."""
        now = self.clock()
        if (told := self._told.get((at.name, name))) is None:
            told = self._told[at.name, name] = _Told(Transfer(), now)
        elif not told.transfer.begun:
            told.at = now
        if not piece:
            return
        transfer = told.transfer
        transfer.hear(now, piece, completed, total)
        due = now - told.at >= (AT_MOST_EVERY if transfer.share - told.share >= STEP else AT_LEAST_EVERY)
        if due and transfer.left:
            told.at, told.share = now, transfer.share
            logger.info(f"{at.print_prefix}{name}: {transfer_words(transfer, now)}")

    def complete(self, at: Host, name: str) -> None:
        """Forget it."""
        self._told.pop((at.name, name), None)

    def conclude(self, at: Host, summary: str) -> None:
        """The proof logs it itself."""


def transfer_words(transfer: Transfer, now: float) -> str:
    """`43%, 8.0 GiB of 18.5 GiB, 112.0 MiB/s, 1 min 35 s left`."""
    words = [
        f"{int(transfer.share * 100)}%",
        f"{large_size_words(transfer.done)} of {large_size_words(transfer.size)}",
    ]
    if (rate := transfer.rate(now)) is not None:
        words.append(f"{large_size_words(rate)}/s")
    if (left := transfer.seconds_left(now)) is not None:
        words.append(f"{duration_words(left)} left")
    return ", ".join(words)
