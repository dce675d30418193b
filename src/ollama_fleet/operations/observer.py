"""What operations tell of their work while they are at it, and whom they tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from pyinfra.api.host import Host
from pyinfra.api.state import State

from ollama_fleet.operations.progress_lines import ProgressLines


class Observer(Protocol):
    """Somebody who watches a run. Nothing that it does may hold up the work or fail it."""

    def expect(self, at: Host, name: str, size: int) -> None:
        """Something of so many bytes is going to be brought to a host."""

    def begin(self, at: Host, doing: str) -> None:
        """A host begins something that may take long, such as `loading reasoner`."""

    def transfer(self, at: Host, name: str, status: str, piece: str, completed: int, total: int) -> None:
        """Of a piece of something, such as a layer of a model, so many bytes are there.

        Args:
            at: the host that it is brought to.
            name: of the whole.
            status: what the sender says it is doing.
            piece: which of its pieces; empty where only `status` is told.
            completed: bytes of the piece that are there.
            total: bytes of the piece.
        """

    def complete(self, at: Host, name: str) -> None:
        """All of something is there."""

    def conclude(self, at: Host, summary: str) -> None:
        """A host has been proven; the line says what is so."""


@dataclass(slots=True)
class _Everybody:
    """Hands on to all who watch."""

    observers: list[Observer] = field(default_factory=lambda: [ProgressLines()])

    def expect(self, at: Host, name: str, size: int) -> None:
        for observer in self.observers:
            observer.expect(at, name, size)

    def begin(self, at: Host, doing: str) -> None:
        for observer in self.observers:
            observer.begin(at, doing)

    def transfer(self, at: Host, name: str, status: str, piece: str, completed: int, total: int) -> None:
        for observer in self.observers:
            observer.transfer(at, name, status, piece, completed, total)

    def complete(self, at: Host, name: str) -> None:
        for observer in self.observers:
            observer.complete(at, name)

    def conclude(self, at: Host, summary: str) -> None:
        for observer in self.observers:
            observer.conclude(at, summary)


_RUNS: WeakKeyDictionary[State, _Everybody] = WeakKeyDictionary()


def observe(state: State, observer: Observer) -> None:
    """Have an observer told of a run, beside the lines that are logged anyway."""
    _RUNS.setdefault(state, _Everybody()).observers.append(observer)


def observer_of(at: Host) -> Observer:
    """Return whom to tell of the work on a host."""
    return _RUNS.setdefault(at.state, _Everybody())
