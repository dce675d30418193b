"""What stands on the page, host by host, before it is HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.checks.kept_runs import KeptRun
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.clients.every import CLIENTS, settings_for
from ollama_fleet.outputs.clients.setting import Setting
from ollama_fleet.outputs.endpoints import Endpoint, endpoints_of
from ollama_fleet.outputs.estimates import speed_words
from ollama_fleet.outputs.plans import PlannedHost, Served, Server, planned_host
from ollama_fleet.outputs.report.bars import Bar, bar_of
from ollama_fleet.outputs.report.charts import ModelRuns, runs_of_host
from ollama_fleet.planner.decision import kinds_of
from ollama_fleet.planner.host_decisions import Decided
from ollama_fleet.spec.hosts import HostSpec

MEASURED = ("weights", "kv", "compute")
"""The terms that can be seen in an engine's log."""


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What `tune` saw of the same weights, release and GPUs: each term planned and observed on all GPUs, bytes."""

    num_ctx: int
    num_gpu: int
    terms: tuple[tuple[str, int, int], ...]
    """The word for it, planned, observed."""

    @property
    def longest(self) -> int:
        """The larger sum, by which both bars are drawn."""
        return max(sum(planned for _, planned, _ in self.terms), sum(seen for _, _, seen in self.terms), 1)


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A model on a host; sizes in bytes, contexts in tokens."""

    name: str
    base: str
    quantization: str | None
    num_ctx: int
    layers: str
    """Those on GPUs out of all; empty where nothing is known of the model."""
    left_to_engine: bool
    speed: str
    preload: bool
    fits: bool
    known: bool
    confidence: str
    bars: tuple[Bar, ...]
    host_memory: int
    remarks: tuple[str, ...]
    measured: MeasuredModel | None


@dataclass(frozen=True, slots=True)
class MeasuredGpu:
    """A GPU as its driver reports it now; bytes."""

    name: str
    total: int
    used: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that an apply would change."""

    item: str
    aspect: str
    actual: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on a host just now; `error` says why nothing was."""

    error: str | None
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    restarts: bool
    gpus: tuple[MeasuredGpu, ...]

    @property
    def state(self) -> str:
        """One word or two for a table."""
        if self.error is not None:
            return "unreadable"
        return "as planned" if not self.changes else f"{len(self.changes)} to change"


@dataclass(frozen=True, slots=True)
class HostContent:
    """One host."""

    name: str
    address: str
    release: str
    gpus: tuple[str, ...] | None
    error: str | None
    fits: bool
    models: tuple[PlacedModel, ...]
    endpoints: tuple[Endpoint, ...]
    settings: tuple[Setting, ...]
    found: Found | None
    runs: tuple[ModelRuns, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        """Its server, or the first of several."""
        return self.endpoints[0]

    @property
    def serves(self) -> tuple[str, ...]:
        """Names of the models that its servers have."""
        return tuple(dict.fromkeys(model.name for endpoint in self.endpoints for model in endpoint.models))

    @property
    def troubled(self) -> bool:
        """Worth being looked at first."""
        return not self.fits or (self.found is not None and self.found.state != "as planned")


@dataclass(frozen=True, slots=True)
class Reach:
    """Who gets through to which hosts, and so to which models."""

    who: str
    hosts: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """The whole page."""

    hosts: tuple[HostContent, ...]
    reaches: tuple[Reach, ...]
    settings: tuple[Setting, ...]
    """Those that cover the fleet."""
    models: int
    live: bool


def content_of(
    hosts: Sequence[HostSpec],
    lock: Lock,
    surveyed: Sequence[Surveyed] | None = None,
    runs: Sequence[KeptRun] = (),
) -> Content:
    """Put the page together.

    Args:
        hosts: those to show.
        lock: what names stand for.
        surveyed: what was found on each of them, in the same order; None where no host was read.
        runs: what `tune` and `bench` have measured so far, the newest last.
    """
    live: Sequence[Surveyed | None] = [None] * len(hosts) if surveyed is None else surveyed
    planned = [_planned(host, lock, found) for host, found in zip(hosts, live, strict=True)]
    served = [endpoints_of(host, lock, plan) for host, plan in zip(hosts, planned, strict=True)]
    every = [endpoint for of_host in served for endpoint in of_host]
    settings = settings_for(list(CLIENTS), every)
    shown = [
        _host(host, plan, of_host, settings, found, lock, runs)
        for host, plan, of_host, found in zip(hosts, planned, served, live, strict=True)
    ]
    return Content(
        hosts=tuple(shown),
        reaches=tuple(_reaches(every)),
        settings=tuple(setting for setting in settings if setting.host is None),
        models=len({model.name for host in hosts for model in host.models}),
        live=surveyed is not None,
    )


def _reaches(served: Sequence[Endpoint]) -> Iterator[Reach]:
    for who in dict.fromkeys(endpoint.reach for endpoint in served):
        alike = [endpoint for endpoint in served if endpoint.reach == who]
        names = (model.name for endpoint in alike for model in endpoint.models)
        yield Reach(
            who, tuple(dict.fromkeys(endpoint.host for endpoint in alike)), tuple(dict.fromkeys(names))
        )


def _planned(host: HostSpec, lock: Lock, found: Surveyed | None) -> PlannedHost:
    """The plan made on the host where there is one, else that of the declared GPUs: `plan` prints the same."""
    if found is None or found.plan is None or found.state is None:
        return planned_host(host, lock)
    gpus = found.state.kinds
    decided = tuple(Decided(placement.resolved, placement.decision) for placement in found.plan.placements)
    served = tuple(
        Served(placement.created.name, instance.name, instance.port)
        for instance in found.plan.instances
        for placement in instance.placements
    )
    servers = tuple(
        Server(
            instance.name,
            instance.port,
            tuple(placement.resolved.name for placement in instance.placements),
            kinds_of(instance.sees(found.state).devices),
        )
        for instance in found.plan.instances
    )
    return PlannedHost(host.name, gpus, decided, served=served, servers=servers)


def _host(
    host: HostSpec,
    planned: PlannedHost,
    endpoints: Sequence[Endpoint],
    settings: Sequence[Setting],
    found: Surveyed | None,
    lock: Lock,
    runs: Sequence[KeptRun],
) -> HostContent:
    return HostContent(
        name=host.name,
        address=host.address,
        release=str(host.release.version),
        gpus=planned.gpus,
        error=planned.error,
        fits=planned.fits,
        models=tuple(
            _model(planned.label(number), item, _measured(item, host, planned.server(number), lock))
            for number, item in enumerate(planned.decided)
        ),
        endpoints=tuple(endpoints),
        settings=tuple(setting for setting in settings if setting.host == host.name),
        found=None if found is None else _found(found),
        runs=runs_of_host(host.name, runs),
    )


def _measured(item: Decided, host: HostSpec, server: Server | None, lock: Lock) -> MeasuredModel | None:
    base = item.decision.candidate.base
    kinds = "" if server is None else server.kinds
    found = lock.measured.find(lock.digest_of(base), str(host.release.version), kinds)
    if found is None:
        return None
    terms = [(term, getattr(found.planned, term), getattr(found.observed, term)) for term in MEASURED]
    return MeasuredModel(found.num_ctx, found.num_gpu, tuple(terms))


def _model(name: str, item: Decided, measured: MeasuredModel | None) -> PlacedModel:
    decision, estimate = item.decision, item.decision.estimate
    rejected = decision.choice.rejected if decision.choice else None
    remarks = [*item.resolved.remarks, *decision.remarks]
    if rejected is not None:
        remarks.append(f"not taken: {rejected.reason}")
    return PlacedModel(
        name=name,
        base=decision.candidate.base,
        quantization=decision.candidate.quantization,
        num_ctx=decision.num_ctx,
        layers="" if estimate is None else f"{estimate.layers_offloaded} of {estimate.layers_total}",
        left_to_engine=decision.num_gpu is None,
        speed=speed_words(decision.choice.speed if decision.choice else None),
        preload=item.resolved.preload,
        fits=decision.fits,
        known=estimate is not None,
        confidence="" if estimate is None else estimate.confidence,
        bars=() if estimate is None else tuple(bar_of(device) for device in estimate.devices),
        host_memory=0 if estimate is None else estimate.host.total,
        remarks=tuple(remarks),
        measured=measured,
    )


def _found(found: Surveyed) -> Found:
    if found.plan is None or found.state is None:
        return Found(found.error or "not read", (), (), False, ())
    changes = [
        Change(f"{item.kind} {item.name}", one.aspect, one.actual, one.wanted)
        for item, differences in found.plan.differences(found.state)
        for one in differences
    ]
    gpus = [
        MeasuredGpu(
            device.kind or device.name,
            device.memory_total,
            None if device.memory_free is None else device.memory_total - device.memory_free,
        )
        for device in found.state.devices
    ]
    return Found(found.error, tuple(changes), found.plan.told, found.plan.restarts, tuple(gpus))
