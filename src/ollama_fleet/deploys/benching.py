"""Benchmarks of live hosts: connect, load, ask, put everything back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ollama_fleet.deploys.survey import look

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.out_of_memory import in_words
from ollama_fleet.api.through import server_of
from ollama_fleet.checks.bench_figures import Run
from ollama_fleet.checks.benching import Pattern, bench
from ollama_fleet.checks.observation import observe
from ollama_fleet.checks.residents import Residents, as_before
from ollama_fleet.checks.tether import tethered
from ollama_fleet.deploys.source import Source
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.decision import Surroundings, facts_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.layout import on_instance
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.speed import SpeedRange, token_rate
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec


@dataclass(frozen=True, slots=True)
class Benched:
    """One placement: its runs, and the generation rate that was predicted for each fill, where anybody could.

    `instance` is which of several servers it stands on, empty for the only one; `kinds` are the GPUs of that server.
    """

    model: str
    base: str
    num_ctx: int
    num_gpu: int | None
    runs: tuple[Run, ...] = ()
    predicted: tuple[tuple[int, SpeedRange], ...] = ()
    error: str | None = None
    quantization: str | None = None
    instance: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The model, and where it is one of several servers' which."""
        return on_instance(self.model, self.instance)

    def expected(self, fill: int) -> SpeedRange | None:
        """The rate that was predicted at a fill."""
        return dict(self.predicted).get(fill)


@dataclass(frozen=True, slots=True)
class HostBenched:
    """What came of one host. `problems`: what could not be put back."""

    host: str
    release: str = ""
    kinds: tuple[str, ...] = ()
    benched: tuple[Benched, ...] = ()
    problems: tuple[str, ...] = ()
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Everything was measured, and is as before."""
        return not self.error and not self.problems and all(not one.error for one in self.benched)


Told = Callable[[str, str, Run], None]


def bench_hosts(
    source: Source,
    path: Path,
    hosts: Sequence[HostSpec],
    models: Sequence[str],
    instances: Sequence[str],
    pattern: Pattern,
    told: Told,
) -> list[HostBenched]:
    """Benchmark the models of hosts, all hosts at once and each host's models one after the other.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml.
        hosts: those to benchmark.
        models: names of those models; none is all.
        instances: names of the servers to benchmark, of hosts that have several; none is all.
        pattern: what to run.
        told: is given each run as it is made, with host and model.

    Raises:
        SpecErrors: an SSH key is not there.
    """

    def work(host: Host, spec: HostSpec) -> HostBenched:
        found = look(host, source, spec)
        if found.plan is None or found.state is None:
            return HostBenched(spec.name, error=found.error or "no plan")
        try:
            chosen = found.plan.named(instances)
        except PlanError as error:
            return HostBenched(spec.name, error=str(error))
        return _host(host, source, spec, found.plan, chosen, found.state, models, pattern, told)

    return visit(path, hosts, work)


def _host(
    host: Host,
    source: Source,
    spec: HostSpec,
    plan: HostPlan,
    chosen: Sequence[Instance],
    state: HostState,
    models: Sequence[str],
    pattern: Pattern,
    told: Told,
) -> HostBenched:
    benched: list[Benched] = []
    problems: list[str] = []
    errors: list[str] = []
    for instance in chosen:
        prefix = f"{instance.name}: " if instance.name else ""
        own: list[str] = []
        try:
            benched += _of_server(
                host, source, spec, plan.of(instance), instance.sees(state), models, pattern, told, own
            )
        except (ApiError, StepFailed) as error:
            errors.append(f"{prefix}{error}")
        problems += [f"{prefix}{problem}" for problem in own]
    return HostBenched(
        spec.name,
        plan.release.version,
        state.kinds,
        tuple(benched),
        tuple(problems),
        "; ".join(errors) or None,
    )


def _of_server(
    host: Host,
    source: Source,
    spec: HostSpec,
    plan: HostPlan,
    state: HostState,
    models: Sequence[str],
    pattern: Pattern,
    told: Told,
    problems: list[str],
) -> list[Benched]:
    """Benchmark what one server has; `plan` and `state` are those of this server."""
    chosen = [one for one in plan.placements if not models or one.resolved.name in models]
    benched: list[Benched] = []

    def connect() -> Ollama:
        return server_of(host, plan.address, plan.port)

    with connect() as server:
        names = [one.created.name for one in chosen]
        now = observe(host, plan.layout, state).now
        with (
            tethered(host, server, plan, state, names, problems),
            as_before(server, now, problems, pattern.timeout) as residents,
        ):
            for placement in chosen:
                benched.append(
                    _placement(source, spec, plan, state, connect, residents, placement, pattern, told)
                )
    return benched


def _placement(
    source: Source,
    spec: HostSpec,
    plan: HostPlan,
    state: HostState,
    connect: Callable[[], Ollama],
    residents: Residents,
    placement: Placement,
    pattern: Pattern,
    told: Told,
) -> Benched:
    name, decision = placement.created.name, placement.decision
    facts = facts_of(decision.candidate, source.lock)
    blank = Benched(
        model=placement.resolved.name,
        base=decision.candidate.base,
        num_ctx=decision.num_ctx,
        num_gpu=decision.num_gpu,
        quantization=decision.candidate.quantization or (None if facts is None else facts.quantization),
        instance=plan.layout.instance,
        kinds=state.kinds,
    )
    if state.store.manifest(placement.created.model) is None:
        return replace(blank, error=f"{name} is not on the host yet; apply first")
    residents.touch(name)
    try:
        runs = bench(connect, name, decision.num_ctx, pattern, lambda run: told(spec.name, blank.label, run))
    except ApiError as error:
        return replace(blank, error=in_words(error, decision.estimate))
    predicted = _predicted(source, plan, state, placement, pattern.fills)
    return replace(blank, runs=tuple(runs), predicted=tuple(predicted.items()))


def _predicted(
    source: Source, plan: HostPlan, state: HostState, placement: Placement, fills: Sequence[int]
) -> dict[int, SpeedRange]:
    decision = placement.decision
    facts = facts_of(decision.candidate, source.lock)
    if facts is None or decision.estimate is None:
        return {}
    gpus = Surroundings.of(state.devices, plan.service.environment, plan.release.version).gpus
    if len(gpus) != len(decision.estimate.devices):
        return {}
    found = {
        fill: token_rate(facts, decision.estimate, gpus, position=max(decision.num_ctx * fill // 100, 1))
        for fill in fills
    }
    return {fill: rate for fill, rate in found.items() if rate is not None}
