"""What runs where, planned without touching a host: lines and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.outputs.estimates import speed_words
from ollama_fleet.outputs.sizes import gib
from ollama_fleet.planner.decision import Decisions, kinds_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_decisions import Decided, host_decisions
from ollama_fleet.planner.memory import Estimate
from ollama_fleet.planner.slots import declared_slots
from ollama_fleet.planner.variants import names_of
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec

HEAD = ("host", "model", "from", "num_ctx", "num_gpu", "memory", "fits", "speed")


@dataclass(frozen=True, slots=True)
class Served:
    """A model as clients see it: its name, the instance (empty for the only one), and the port."""

    name: str
    instance: str
    port: int


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a host: its instance (empty for the only one), its port, what it has."""

    instance: str
    port: int
    models: tuple[str, ...]
    """As fleet.yaml names them."""
    kinds: str
    """Its GPUs as measurements name them."""


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """One host: its decisions, or why there are none."""

    name: str
    gpus: tuple[str, ...] | None
    """Declared GPUs; None where only the host knows."""
    decided: tuple[Decided, ...] = ()
    error: str | None = None
    served: tuple[Served, ...] = ()
    """Of each decision, in the same order, by which server and under which name."""
    servers: tuple[Server, ...] = ()
    """All that it has; none where only the host knows."""

    def server(self, number: int) -> Server | None:
        """The server of a decision."""
        name = self.served[number].instance
        return next((one for one in self.servers if one.instance == name), None)

    @property
    def fits(self) -> bool:
        """Nothing is known not to fit."""
        return self.error is None and all(item.decision.fits for item in self.decided)

    def label(self, number: int) -> str:
        """A model for people, with the instance that serves it where there are several."""
        served = self.served[number] if self.served else None
        if served is None or not served.instance:
            return self.decided[number].resolved.name
        return f"{served.name.removesuffix(':latest')} on {served.instance}"


def planned_host(host: HostSpec, lock: Lock, decisions: Decisions | None = None) -> PlannedHost:
    """Plan one host from the GPUs that fleet.yaml declares; `decisions` are those made for other hosts so far."""
    slots = declared_slots(host)
    if slots is None:
        return PlannedHost(host.name, None)
    gpus = tuple(device.kind or device.name for slot in slots for device in slot.devices)
    servers = tuple(
        Server(slot.name, slot.port, tuple(one.name for one in slot.spec.models), kinds_of(slot.devices))
        for slot in slots
    )
    try:
        parts = [
            (slot.name, slot.devices, host_decisions(slot.spec, slot.devices, lock, decisions))
            for slot in slots
        ]
        served = [
            Served(name.short, slot.name, slot.port)
            for slot, names in zip(slots, names_of(parts), strict=True)
            for name in names
        ]
        decided = tuple(item for _, _, items in parts for item in items)
        return PlannedHost(host.name, gpus, decided, served=tuple(served), servers=servers)
    except (PlanError, SpecErrors) as error:
        return PlannedHost(host.name, gpus, error=str(error), servers=servers)


def plan_rows(hosts: list[PlannedHost]) -> list[tuple[str, ...]]:
    """One row per model on a host."""
    rows: list[tuple[str, ...]] = []
    for host in hosts:
        if host.error or not host.decided:
            rows.append((host.name, host.error or ("GPUs unknown" if host.gpus is None else "no models")))
        for number, item in enumerate(host.decided):
            decision, estimate = item.decision, item.decision.estimate
            layers = "?" if estimate is None else f"{estimate.layers_offloaded}/{estimate.layers_total}"
            row = (
                host.name,
                host.label(number),
                decision.candidate.base,
                str(decision.num_ctx),
                f"{layers}{'' if decision.num_gpu is not None else ' (engine)'}",
                memory_words(estimate),
                "?" if estimate is None else ("yes" if estimate.fits else "NO"),
                speed_words(decision.choice.speed if decision.choice else None),
            )
            rows.append(row)
    return rows


def memory_words(estimate: Estimate | None) -> str:
    """What a model takes on GPUs, or else on the host."""
    if estimate is None:
        return "?"
    on_gpus = sum(device.total for device in estimate.devices)
    return gib(on_gpus) if on_gpus else f"{gib(estimate.host.total)} (CPU)"


def plan_remarks(hosts: list[PlannedHost]) -> list[str]:
    """What is to be known beside the table: reasons, and the better that was rejected."""
    lines = []
    for host in hosts:
        for number, item in enumerate(host.decided):
            where = f"{host.name}: {host.label(number)}"
            lines += [f"{where}: {remark}" for remark in (*item.resolved.remarks, *item.decision.remarks)]
            choice = item.decision.choice
            if choice is not None and choice.rejected is not None:
                lines.append(f"{host.name}: not taken: {choice.rejected.reason}")
            if item.decision.estimate is None:
                lines.append(
                    f"{where}: nothing is known of {item.decision.candidate.base} before it is locked"
                )
    return lines


def explain_lines(host: PlannedHost, origins: dict[str, str]) -> list[str]:
    """For each value of a host and its models the line that gave it."""
    lines = [f"{key}: {place}" for key, place in origins.items()]
    for item in host.decided:
        said = {key: str(origin) for key, origin in item.resolved.origin.items()}
        lines += [f"models.{item.resolved.name}.{key}: {place}" for key, place in sorted(said.items())]
    return lines


def plan_document(hosts: list[PlannedHost]) -> dict[str, Any]:
    """The JSON of `plan`, version 1; sizes in bytes."""
    return {"version": 1, "hosts": {host.name: _host(host) for host in hosts}}


def _host(host: PlannedHost) -> dict[str, Any]:
    return {
        "gpus": None if host.gpus is None else list(host.gpus),
        "error": host.error,
        "fits": host.fits,
        "placements": [
            _placement(item, host.served[number] if host.served else None)
            for number, item in enumerate(host.decided)
        ],
    }


def _placement(item: Decided, served: Served | None) -> dict[str, Any]:
    decision = item.decision
    speed = decision.choice.speed if decision.choice else None
    rejected = decision.choice.rejected if decision.choice else None
    return {
        "model": item.resolved.name,
        "name": item.resolved.name if served is None else served.name,
        "instance": (served.instance if served else "") or None,
        "base": decision.candidate.base,
        "size": decision.candidate.size,
        "quantization": decision.candidate.quantization,
        "num_ctx": decision.num_ctx,
        "num_gpu": decision.num_gpu,
        "num_batch": decision.num_batch,
        "preload": item.resolved.preload,
        "estimate": None if decision.estimate is None else decision.estimate.to_dict(),
        "tokens_per_second": None if speed is None else [speed.low, speed.high],
        "rejected": None if rejected is None else rejected.reason,
        "remarks": [*item.resolved.remarks, *decision.remarks],
    }
