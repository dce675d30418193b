"""Tuning the models of one live host: connect, make room, search, put everything back, keep what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ollama_fleet.deploys.survey import look

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.through import server_of
from ollama_fleet.artifacts.measured import FILE as MEASURED_FILE
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.checks.observation import Observation, observe
from ollama_fleet.checks.residents import Residents, as_before
from ollama_fleet.checks.stable_trial import Bench, used_by_device
from ollama_fleet.checks.tether import tethered
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.checks.tuning import Search, with_free
from ollama_fleet.deploys.kept_search import KeptSearch
from ollama_fleet.deploys.source import Source
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.decision import Surroundings, facts_of, kinds_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.layout import on_instance
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a tuning: bytes to stay free on each GPU, seconds in all and for one request.

    No `models` are all of them, no `instances` all that the host has.
    """

    models: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    context: bool = False
    margin: int = 128 * MIB
    time_limit: float = 1800.0
    timeout: float = 600.0
    resume: bool = False


@dataclass(frozen=True, slots=True)
class HostTuned:
    """What came of it. `kinds` are the GPUs found there; `problems` what could not be put back.

    `shared` are the models that more than one of several instances has.
    """

    host: str
    kinds: tuple[str, ...] = ()
    tuned: tuple[Tuned, ...] = ()
    problems: tuple[str, ...] = ()
    error: str | None = None
    shared: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Everything was found, and is as before."""
        return not self.error and not self.problems and all(not one.error for one in self.tuned)


Told = Callable[[str, Step], None]


def tune_host(source: Source, path: Path, spec: HostSpec, wish: Wish, told: Told) -> HostTuned:
    """Tune models of a host; its memory holds the same models before and after, whatever happens in between.

    Where the host has several instances, they are tuned one after the other, each with its own devices alone.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml; what is measured is kept beside it.
        spec: the host.
        wish: what is asked.
        told: is given each step as it is made, with the name of its model and, of several, its instance.

    Raises:
        SpecErrors: an SSH key is not there.
    """

    def work(host: Host, spec: HostSpec) -> HostTuned:
        found = look(host, source, spec)
        if found.plan is None or found.state is None:
            return HostTuned(spec.name, error=found.error or "no plan")
        try:
            chosen = list(_chosen(found.plan, found.state, wish))
        except PlanError as error:
            return HostTuned(spec.name, found.state.kinds, error=str(error))
        deadline = time.monotonic() + wish.time_limit
        jobs = [_Job(host, source, path, spec, *one, wish, told, deadline) for one in chosen]
        errors = [f"{job.prefix}{reason}" for job in jobs if (reason := job.run())]
        return HostTuned(
            spec.name,
            found.state.kinds,
            tuple(tuned for job in jobs for tuned in job.done),
            tuple(f"{job.prefix}{problem}" for job in jobs for problem in job.problems),
            "; ".join(errors) or None,
            frozenset(_shared(found.plan)),
        )

    (tuned,) = visit(path, [spec], work)
    return tuned


def _shared(plan: HostPlan) -> Iterator[str]:
    """Names of the models that several instances have."""
    names = [placement.resolved.name for placement in plan.placements]
    return (name for name in names if names.count(name) > 1)


_Chosen = tuple[HostPlan, HostState, tuple[Placement, ...]]
"""The plan of one server and the host as it sees it, and what is to be tuned there."""


def _chosen(plan: HostPlan, state: HostState, wish: Wish) -> Iterator[_Chosen]:
    """Yield what is asked for, server by server. Raises PlanError where something of it is not there."""
    instances = plan.named(wish.instances)
    placements = [placement for instance in instances for placement in instance.placements]
    known = {name for one in placements for name in (one.resolved.name, one.created.name)}
    if unknown := [name for name in wish.models if name not in known]:
        there = ", ".join(dict.fromkeys(one.created.name for one in placements))
        where = "these instances" if wish.instances else "this host"
        raise PlanError(f"{unknown[0]} is no model of {where}; there are {there or 'none'}")
    if absent := [one for one in placements if _turn(one, wish) is not None and not _stored(one, state)]:
        raise PlanError(f"{absent[0].created.name} is not on the host yet; apply first")
    for instance in instances:
        turns = [(turn, one) for one in instance.placements if (turn := _turn(one, wish)) is not None]
        if turns:
            mine = tuple(one for _, one in sorted(turns, key=lambda pair: pair[0]))
            yield plan.of(instance), instance.sees(state), mine


def _turn(placement: Placement, wish: Wish) -> int | None:
    """When a placement's turn is, in the order in which models are named; None where it is not asked for."""
    if not wish.models:
        return 0
    names = (placement.resolved.name, placement.created.name)
    return next((turn for turn, name in enumerate(wish.models) if name in names), None)


def _stored(placement: Placement, state: HostState) -> bool:
    return state.store.manifest(placement.created.model) is not None


@dataclass
class _Job:
    """The search on one server of the host: `plan` and `state` are as if there were no other."""

    host: Host
    source: Source
    path: Path
    spec: HostSpec
    plan: HostPlan
    state: HostState
    chosen: tuple[Placement, ...]
    wish: Wish
    told: Told
    deadline: float
    done: list[Tuned] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def instance(self) -> str:
        return self.plan.layout.instance

    @property
    def prefix(self) -> str:
        """What tells lines about one of several servers apart."""
        return f"{self.instance}: " if self.instance else ""

    def run(self) -> str | None:
        """Tune what was chosen, one after the other; returns why it could not go on."""
        if time.monotonic() >= self.deadline:  # another server has used it: nothing is unloaded here
            return "the time is up before its turn; --time-limit gives more, --instance tunes it alone"
        try:
            with server_of(self.host, self.plan.address, self.plan.port) as server:
                seen = self._observe(None)
                names = [placement.created.name for placement in self.chosen]
                with (
                    tethered(self.host, server, self.plan, self.state, names, self.problems),
                    as_before(server, seen.now, self.problems, self.wish.timeout) as residents,
                ):
                    for placement in self.chosen:
                        self.done.append(self._tune(server, residents, placement))
        except (ApiError, StepFailed, PlanError) as error:
            return str(error)
        return None

    def _observe(self, since: str | None) -> Observation:
        return observe(self.host, self.plan.layout, self.state, since)

    def _tune(self, server: Ollama, residents: Residents, placement: Placement) -> Tuned:
        name, candidate = placement.resolved.name, placement.decision.candidate
        facts = facts_of(candidate, self.source.lock)
        if facts is None:
            unknown = "nothing is known of its base; run `ollama-fleet lock`"
            return self._here(Tuned(name, candidate.base, 0, (), error=unknown))
        release = str(self.spec.release.version)
        around = Surroundings.of(self.state.devices, self.plan.service.environment, release)
        bench = Bench(
            server=server,
            residents=residents,
            observe=self._observe,
            model=placement.created.model,
            blob=self._blob(placement),
            room=(),
            base=(),
            kv_type=around.kv_type,
            deadline=self.deadline,
            timeout=self.wish.timeout,
        )
        bench.unload()
        empty = self._observe(None)
        base = used_by_device(empty)
        if base is not None:
            free = [device.memory_free or 0 for device in empty.devices]
            around = replace(around, gpus=with_free(around.gpus, free))
        room = tuple(
            gpu.free - self.wish.margin - beside
            for gpu, beside in zip(around.gpus, self._others(placement, len(around.gpus)), strict=True)
        )
        label = on_instance(name, self.instance)
        kept = KeptSearch(self.path, self.spec.name, label, self._key(placement, around))
        steps = kept.load() if self.wish.resume else []

        def told(step: Step) -> None:
            kept.save(search.steps)
            self.told(label, step)

        search = Search(
            placement=placement,
            facts=facts,
            around=around,
            bench=replace(bench, room=room, base=base or ()),
            correction=around.correction(candidate.base, self.source.lock),
            steps=steps,
            told=told,
        )
        tuned = self._here(search.tune(context=self.wish.context))
        if not tuned.error:
            kept.forget()
        self._keep(tuned, release)
        return tuned

    def _here(self, tuned: Tuned) -> Tuned:
        return replace(tuned, instance=self.instance, kinds=self.state.kinds)

    def _others(self, placement: Placement, devices: int) -> list[int]:
        """Bytes by GPU of what is to be in memory together with a preloaded model."""
        beside = [0] * devices
        for other in self.plan.placements:
            estimate = other.decision.estimate
            if placement.preload and other.preload and other is not placement and estimate is not None:
                for place, device in enumerate(estimate.devices[:devices]):
                    beside[place] += device.total - device.reserve
        return beside

    def _blob(self, placement: Placement) -> str | None:
        manifest = self.state.store.manifest(placement.created.model)
        layer = None if manifest is None else manifest.layer("model")
        return None if layer is None else layer.digest.removeprefix("sha256:")

    def _key(self, placement: Placement, around: Surroundings) -> dict[str, Any]:
        """What a search must have in common with an earlier one to go on with it."""
        return {
            "digest": self.source.lock.digest_of(placement.decision.candidate.base),
            "release": around.release,
            "gpus": around.kinds,
            "num_ctx": placement.decision.num_ctx,
            "kv_cache_type": around.kv_type,
            "num_parallel": around.num_parallel,
            "margin": self.wish.margin,
        }

    def _keep(self, tuned: Tuned, release: str) -> None:
        digest = self.source.lock.digest_of(tuned.base)
        if tuned.measurement is None or digest is None:
            return
        file = self.path.with_name(MEASURED_FILE)
        kinds = kinds_of(self.state.devices)
        Measurements.load(file).with_one(digest, release, kinds, tuned.measurement).save(file)
