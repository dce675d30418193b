"""What a verification found of one host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ollama_fleet.checks.engine_log import HOST, Terms
from ollama_fleet.checks.evidence import Evidence, Failure
from ollama_fleet.checks.exposure import Exposure
from ollama_fleet.planner.layout import on_instance
from ollama_fleet.planner.memory import Estimate

Depth = Literal["quick", "load", "full"]
"""How deep is looked: `quick` loads nothing, `load` lets each model answer, `full` loads each anew."""


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Measured and predicted memory in one place, bytes per term; a term that nobody knows is left out.

    The measured terms come from the engine's log. `measured["total"]` is their sum.
    """

    place: str
    measured: Mapping[str, int]
    predicted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PlacementVerdict:
    """One placement: what was seen, what is wrong, and what could not be seen."""

    seen: Evidence
    failures: tuple[Failure, ...]
    remarks: tuple[str, ...]
    instance: str = ""
    """Which of several servers has it."""

    @property
    def name(self) -> str:
        """The model's name, and which of several servers it is on."""
        return on_instance(self.seen.name, self.instance)

    @property
    def memory(self) -> tuple[MemoryRow, ...]:
        """Measured and predicted memory side by side; empty where neither is known."""
        log = self.seen.log
        return memory_rows({} if log is None else log.places, self.seen.estimate)


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """One host. `failures` are those of the host itself; `outside` says what could be tried from here.

    ``exposed`` is what lets more people in than need be; it may be wanted, so it is no failure.
    """

    host: str
    depth: Depth
    summary: str
    failures: tuple[Failure, ...]
    placements: tuple[PlacementVerdict, ...] = ()
    outside: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    exposed: tuple[Exposure, ...] = ()

    @property
    def all_failures(self) -> tuple[Failure, ...]:
        """Everything that is wrong, the host's own first."""
        return (*self.failures, *(found for one in self.placements for found in one.failures))

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.all_failures


def memory_rows(measured: Mapping[str, Terms], predicted: Estimate | None) -> tuple[MemoryRow, ...]:
    """Pair measured places with the devices of a prediction, in their order, and the host's with the host's.

    The engine numbers the devices that it sees, the plan those of the host, so with several of them a pair is of
    equal rank and not of one name.
    """
    names = sorted(name for name in measured if name != HOST)
    reckoned = (
        [] if predicted is None else [device for device in predicted.devices if device.total > device.reserve]
    )
    rows = []
    for index in range(max(len(names), len(reckoned))):
        device = reckoned[index] if index < len(reckoned) else None
        name = names[index] if index < len(names) else None
        terms: dict[str, int] = {}
        if device is not None:
            terms = {
                "weights": device.weights + device.projector + device.draft,
                "kv": device.kv,
                "compute": device.compute,
            }
            terms["total"] = device.total - device.reserve
        rows.append(
            MemoryRow(name or (device.name if device else ""), _terms(measured.get(name or "")), terms)
        )
    if HOST in measured or predicted is not None:
        terms = {}
        if predicted is not None:
            host = predicted.host
            terms = {"weights": host.weights, "kv": host.kv, "compute": host.compute, "total": host.total}
        row = MemoryRow(HOST, _terms(measured.get(HOST)), terms)
        if any((*row.measured.values(), *row.predicted.values())):
            rows.append(row)
    return tuple(rows)


def _terms(terms: Terms | None) -> dict[str, int]:
    if terms is None:
        return {}
    return {"weights": terms.weights, "kv": terms.kv, "compute": terms.compute, "total": terms.total}
