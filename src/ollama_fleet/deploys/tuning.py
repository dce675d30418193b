"""Tuning the models of one live host: connect, make room, search, put everything back, keep what was measured."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ollama_fleet.deploys.survey import look

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.through import server_of
from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.artifacts.measured import FILE as MEASURED_FILE
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.checks.observation import Observation, observe
from ollama_fleet.checks.residents import Residents, as_before
from ollama_fleet.checks.stable_trial import Bench, used_by_device
from ollama_fleet.checks.tether import tethered
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.checks.tuning import Search, with_free
from ollama_fleet.deploys.source import Source
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.decision import Surroundings, facts_of, kinds_of
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a tuning: bytes to stay free on each GPU, seconds in all and for one request."""

    models: tuple[str, ...] = ()
    context: bool = False
    margin: int = 128 * MIB
    time_limit: float = 1800.0
    timeout: float = 600.0
    resume: bool = False


@dataclass(frozen=True, slots=True)
class HostTuned:
    """What came of it. `kinds` are the GPUs found there; `problems` what could not be put back."""

    host: str
    kinds: tuple[str, ...] = ()
    tuned: tuple[Tuned, ...] = ()
    problems: tuple[str, ...] = ()
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Everything was found, and is as before."""
        return not self.error and not self.problems and all(not one.error for one in self.tuned)


Told = Callable[[str, Step], None]


def tune_host(source: Source, path: Path, spec: HostSpec, wish: Wish, told: Told) -> HostTuned:
    """Tune models of a host; its memory holds the same models before and after, whatever happens in between.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml; what is measured is kept beside it.
        spec: the host.
        wish: what is asked.
        told: is given each step as it is made, with the name of its model.

    Raises:
        SpecErrors: an SSH key is not there.
    """

    def work(host: Host, spec: HostSpec) -> HostTuned:
        found = look(host, source, spec)
        if found.plan is None or found.state is None:
            return HostTuned(spec.name, error=found.error or "no plan")
        if found.plan.several:
            return HostTuned(
                spec.name,
                error="a host with several instances is not tuned yet; write instances: 1 meanwhile",
            )
        job = _Job(host, source, path, spec, found.plan, found.state, wish, told)
        try:
            return job.run()
        except (ApiError, StepFailed, PlanError) as error:
            return HostTuned(spec.name, job.kinds, tuple(job.done), tuple(job.problems), str(error))

    (tuned,) = visit(path, [spec], work)
    return tuned


@dataclass
class _Job:
    host: Host
    source: Source
    path: Path
    spec: HostSpec
    plan: HostPlan
    state: HostState
    wish: Wish
    told: Told
    done: list[Tuned] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(device.kind or device.name for device in self.state.devices)

    def run(self) -> HostTuned:
        chosen = self._placements()
        deadline = time.monotonic() + self.wish.time_limit
        with server_of(self.host, self.plan.address, self.plan.port) as server:
            seen = self._observe(None)
            names = [placement.created.name for placement in chosen]
            with (
                tethered(self.host, server, self.plan, self.state, names, self.problems),
                as_before(server, seen.now, self.problems, self.wish.timeout) as residents,
            ):
                for placement in chosen:
                    self.done.append(self._tune(server, residents, placement, deadline))
        return HostTuned(self.spec.name, self.kinds, tuple(self.done), tuple(self.problems))

    def _placements(self) -> list[Placement]:
        known = {placement.created.name: placement for placement in self.plan.placements}
        names = {placement.resolved.name: placement for placement in self.plan.placements} | known
        if unknown := [name for name in self.wish.models if name not in names]:
            raise PlanError(f"{unknown[0]} is no model of this host; there are {', '.join(known) or 'none'}")
        chosen = [names[name] for name in self.wish.models] or list(self.plan.placements)
        for placement in chosen:
            if self.state.store.manifest(placement.created.model) is None:
                raise PlanError(f"{placement.created.name} is not on the host yet; apply first")
        return chosen

    def _observe(self, since: str | None) -> Observation:
        return observe(self.host, self.plan.layout, self.state, since)

    def _tune(self, server: Ollama, residents: Residents, placement: Placement, deadline: float) -> Tuned:
        name, candidate = placement.resolved.name, placement.decision.candidate
        facts = facts_of(candidate, self.source.lock)
        if facts is None:
            return Tuned(
                name, candidate.base, 0, (), error="nothing is known of its base; run `ollama-fleet lock`"
            )
        release = str(self.spec.release.version)
        around = Surroundings.of(self.state.devices, self.spec.env, release)
        bench = Bench(
            server=server,
            residents=residents,
            observe=self._observe,
            model=placement.created.model,
            blob=self._blob(placement),
            room=(),
            base=(),
            kv_type=around.kv_type,
            deadline=deadline,
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
        kept = _Kept(self.path, self.spec.name, name, self._key(placement, around))
        steps = kept.load() if self.wish.resume else []

        def told(step: Step) -> None:
            kept.save(search.steps)
            self.told(name, step)

        search = Search(
            placement=placement,
            facts=facts,
            around=around,
            bench=replace(bench, room=room, base=base or ()),
            correction=around.correction(candidate.base, self.source.lock),
            steps=steps,
            told=told,
        )
        tuned = search.tune(context=self.wish.context)
        if not tuned.error:
            kept.forget()
        self._keep(tuned, release)
        return tuned

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


@dataclass(frozen=True, slots=True)
class _Kept:
    """The steps of a search that is under way, in the user's cache; what belongs to another search is not taken."""

    path: Path
    host: str
    model: str
    key: dict[str, Any]

    @property
    def file(self) -> Path:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.sha256(f"{self.path.resolve()}\0{self.host}\0{self.model}".encode()).hexdigest()[:24]
        return cache / "ollama-fleet" / f"tune-{name}.json"

    def load(self) -> list[Step]:
        try:
            data = json.loads(self.file.read_text("utf-8"))
            if data["key"] != self.key:
                return []
            return [Step.from_dict(step) for step in data["steps"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def save(self, steps: Iterable[Step]) -> None:
        data = {"key": self.key, "steps": [step.to_dict() for step in steps]}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, json.dumps(data).encode())

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
