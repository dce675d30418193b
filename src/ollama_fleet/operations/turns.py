"""Which hosts of a run may change now, and which are left as they are since too many others have failed.

pyinfra takes each operation to all hosts at the same time. What changes a host's server is one operation, at whose
start a host waits for its turn: a batch begins when nobody of the one before is at work any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import gevent
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ollama_fleet.operations.context import StepFailed

LOOK_EVERY = 0.1
"""Seconds; also the time for all hosts to come to the door before the first batch is let in."""


@dataclass(slots=True)
class Turns:
    """The turns of one run.

    `order` are the hosts' names in the order of the file; `batch` of them change at the same time (None: all), as
    long as no more than `max_failures` have failed.
    """

    order: Sequence[str]
    batch: int | None
    max_failures: int
    expected: dict[str, Host] = field(default_factory=dict)
    """Those who are going to change."""
    waiting: set[str] = field(default_factory=set)
    working: set[str] = field(default_factory=set)
    failed: dict[str, None] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    """Those to whom it was not let come."""

    def expect(self, name: str, at: Host) -> None:
        """Say before the run that a host is going to change."""
        self.expected[name] = at

    def take(self, name: str) -> None:
        """Wait until it is a host's turn. Raises StepFailed where it is not going to be."""
        if self.batch is None:
            return
        self.waiting.add(name)
        while name not in self.working:
            gevent.sleep(LOOK_EVERY)
            failures = self.failures()
            if len(failures) > self.max_failures and name not in self.working:
                self.waiting.discard(name)
                self.left.add(name)
                raise StepFailed(
                    f"rollout stopped: {', '.join(failures)} failed; this host is left as it was"
                )
            if not self.working:
                chosen = sorted(self.waiting, key=self.order.index)[: self.batch]
                self.working.update(chosen)
                self.waiting.difference_update(chosen)

    def end(self, name: str, *, well: bool) -> None:
        """Say how a host's turn ended."""
        self.working.discard(name)
        if not well:
            self.failed[name] = None

    def failures(self) -> list[str]:
        """Who has failed so far, be it before its turn."""
        elsewhere = [
            name
            for name, at in self.expected.items()
            if at in at.state.failed_hosts and name not in self.left and name not in self.failed
        ]
        return [*self.failed, *elsewhere]


_RUNS: WeakKeyDictionary[State, Turns] = WeakKeyDictionary()


def turns_of(state: State, order: Sequence[str], batch: int | None, max_failures: int) -> Turns:
    """Return the turns of a run, the same for all its hosts."""
    return _RUNS.setdefault(state, Turns(order, batch, max_failures))
