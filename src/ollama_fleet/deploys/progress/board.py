"""Where each host of a run stands: an observer of the operations that keeps what the screen and the summary show."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ollama_fleet.operations.transfer import Transfer


class Named(Protocol):
    """A host; of it only the name is asked."""

    @property
    def name(self) -> str:
        """Its name in the run."""


@dataclass(slots=True)
class Standing:
    """One host. Times are seconds of the board's clock."""

    name: str
    at_work: bool = False
    """It is at the operation that is on, and not through with it."""
    through: bool = False
    """It has ended the last operation of the run well."""
    operation: str = ""
    """The last one that it began."""
    doing: str = ""
    """The last long step inside it, such as `loading reasoner`; empty between two."""
    since: float = 0.0
    """When it began that."""
    status: str = ""
    """What its server says it is doing."""
    failure: str | None = None
    """Why it failed, in one line; empty where nobody has said so."""
    proof: str = ""
    """What has been proven of it."""
    transfers: dict[str, Transfer] = field(default_factory=dict)
    bringing: str | None = None
    """Which of them is on its way."""

    @property
    def transfer(self) -> Transfer | None:
        """What is on its way just now."""
        return None if self.bringing is None else self.transfers[self.bringing]


@dataclass(slots=True)
class Board:
    """All hosts of a run, in the order of fleet.yaml."""

    clock: Callable[[], float] = time.monotonic
    hosts: dict[str, Standing] = field(default_factory=dict)
    operation: str = ""
    """The one that is on."""
    number: int = 0
    """Its number, from 1."""
    operations: int = 0
    """How many there are."""
    begun: float | None = None
    """When the first operation began; None before it."""

    def names(self, hosts: Iterable[str]) -> None:
        """Say which hosts are in the run."""
        for name in hosts:
            self.hosts.setdefault(name, Standing(name))

    def starts(self, operation: str, number: int, operations: int) -> None:
        """The next operation begins, on all hosts."""
        if self.begun is None:
            self.begun = self.clock()
        self.operation, self.number, self.operations = operation, number, operations

    def enters(self, host: str, operation: str) -> None:
        """A host begins an operation."""
        standing = self._standing(host)
        standing.at_work, standing.operation = True, operation
        standing.doing, standing.status, standing.since = "", "", self.clock()

    def leaves(self, host: str, *, through: bool) -> None:
        """A host has ended an operation well, which may have been its last."""
        standing = self._standing(host)
        standing.at_work, standing.bringing, standing.through = False, None, through

    def fails(self, host: str, reason: str) -> None:
        """A host has failed, and takes no further part. The first reason is the one that counts."""
        standing = self._standing(host)
        standing.at_work, standing.bringing = False, None
        standing.failure = standing.failure or reason

    # -- an observer of the operations -------------------------------------------------------------

    def expect(self, at: Named, name: str, size: int) -> None:
        """Count it among what is to come."""
        self._standing(at.name).transfers.setdefault(name, Transfer(size))

    def begin(self, at: Named, doing: str) -> None:
        """Show it instead of what the host was doing."""
        standing = self._standing(at.name)
        standing.doing, standing.status, standing.since, standing.bringing = doing, "", self.clock(), None

    def transfer(self, at: Named, name: str, status: str, piece: str, completed: int, total: int) -> None:
        """Take in how far it is."""
        standing = self._standing(at.name)
        standing.status = status
        if piece:
            standing.bringing = name
            standing.transfers.setdefault(name, Transfer()).hear(self.clock(), piece, completed, total)

    def complete(self, at: Named, name: str) -> None:
        """It is there."""
        standing = self._standing(at.name)
        standing.transfers.setdefault(name, Transfer()).complete = True
        standing.bringing = None

    def conclude(self, at: Named, summary: str) -> None:
        """Keep it for the summary."""
        self._standing(at.name).proof = summary

    # -- what is asked -----------------------------------------------------------------------------

    @property
    def at_work(self) -> list[Standing]:
        """Hosts that are at the operation that is on."""
        return [standing for standing in self.hosts.values() if standing.at_work]

    @property
    def is_over(self) -> bool:
        """Every host has come to an end, be it good or bad."""
        return all(host.through or host.failure is not None for host in self.hosts.values())

    @property
    def failed(self) -> list[Standing]:
        """Hosts that have failed."""
        return [standing for standing in self.hosts.values() if standing.failure is not None]

    def _standing(self, host: str) -> Standing:
        return self.hosts.setdefault(host, Standing(host))
