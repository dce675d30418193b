"""Is a host right: its state, its server, each of its models at work, and its port from outside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pyinfra.api.host import Host

from ollama_fleet.api.client import ANSWER_TIMEOUT, STALL_TIMEOUT, Ollama
from ollama_fleet.api.errors import ApiError, Unreachable
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.through import server_of
from ollama_fleet.checks import outside
from ollama_fleet.checks.engine_log import ServerStart, parse_start
from ollama_fleet.checks.evidence import Failure
from ollama_fleet.checks.exposure import Exposure, exposures
from ollama_fleet.checks.observation import Observation, observe
from ollama_fleet.checks.placement import misplaced
from ollama_fleet.checks.residents import as_before
from ollama_fleet.checks.server_config import not_understood
from ollama_fleet.checks.tether import tethered
from ollama_fleet.checks.trial import NO_ANSWER, Trial
from ollama_fleet.checks.verdict import Depth, HostVerdict, PlacementVerdict
from ollama_fleet.operations.context import StepFailed, just_loaded
from ollama_fleet.operations.readiness import wait_until_ready
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.access import WantedAccess
from ollama_fleet.planner.items.prune import KIND as PRUNE
from ollama_fleet.planner.layout import Scope
from ollama_fleet.planner.state import HostState


def verify(
    at: Host,
    plan: HostPlan,
    state: HostState,
    *,
    depth: Depth,
    only: Collection[str] | None = None,
    just_changed: bool = False,
    closed_too: bool = True,
    timeout: float = STALL_TIMEOUT,
) -> HostVerdict:
    """Hold a host against its plan; what is in memory is as before at the end, also where this is interrupted.

    Args:
        at: connected.
        plan: what should be.
        state: what was read of the host, after the last change.
        depth: `quick` loads nothing, `load` lets each placement answer, `full` loads each anew.
        only: names of the placements to try; None for all.
        just_changed: the host was changed a moment ago, so its server may still be starting.
        closed_too: try from here also a port that should be shut, which can take seconds.
        timeout: seconds without any word from the server, a load included.
    """
    found = list(_state_failures(plan, state))
    parts: list[_Part] = []
    for instance in plan.instances:
        part = _Part(plan.of(instance), instance.sees(state), depth, only, just_changed, closed_too, timeout)
        part.look(at)
        parts.append(part)
    return HostVerdict(
        host=plan.host,
        depth=depth,
        summary="; ".join(part.summary for part in parts),
        failures=(*found, *(failure for part in parts for failure in part.told(part.failures))),
        placements=tuple(
            replace(one, instance=part.name, failures=part.told(one.failures))
            for part in parts
            for one in part.placements
        ),
        outside=tuple(part.prefixed(part.outside) for part in parts),
        remarks=tuple(part.prefixed(remark) for part in parts for remark in part.remarks),
        exposed=tuple(dict.fromkeys(one for part in parts for one in part.exposed())),
    )


@dataclass
class _Part:
    """One server of the host: what is to be looked at, and what was found."""

    plan: HostPlan
    """Of the host as if there were no other server."""
    state: HostState
    """As this server sees it."""
    depth: Depth
    only: Collection[str] | None
    just_changed: bool
    closed_too: bool
    timeout: float
    failures: list[Failure] = field(default_factory=list)
    placements: list[PlacementVerdict] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    outside: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """Of the instance; empty where the host has but one server."""
        return self.plan.layout.instance

    @property
    def summary(self) -> str:
        """One line about a server that is right."""
        return self.prefixed(_summary(self.plan, self.version))

    def prefixed(self, text: str) -> str:
        """A line that says which of several servers it is about."""
        return f"{self.name}: {text}" if self.name else text

    def told(self, failures: Iterable[Failure]) -> tuple[Failure, ...]:
        """Failures that say which of several servers they are of."""
        return tuple(replace(one, text=self.prefixed(one.text)) for one in failures)

    def look(self, at: Host) -> None:
        """Look at the server, try its models, and try its port from here."""
        plan = self.plan
        try:
            with server_of(at, plan.address, plan.port, timeout=min(self.timeout, ANSWER_TIMEOUT)) as server:
                self._served(at, server)
        except Unreachable as error:
            hangs = "the API hangs: " if NO_ANSWER in str(error) else ""
            self.failures.append(Failure("api", f"{hangs}{error}"))
        except (ApiError, StepFailed) as error:
            self.failures.append(Failure("api", str(error)))
        port = outside.look(at, plan, self.state, closed_too=self.closed_too)
        self.outside = port.told
        if port.problem:
            self.failures.append(Failure("port", port.problem))

    def _served(self, at: Host, server: Ollama) -> None:
        plan, state = self.plan, self.state
        layout = plan.layout
        if self.just_changed:
            self.version = wait_until_ready(at, server, layout.scope, unit=layout.service)
        else:
            self.version = server.version()
        self.failures += _server_failures(server, plan, state, self.version, just_loaded(at))
        if self.depth != "quick":
            seen = observe(at, layout, state)
            start = parse_start(seen.log or ())
            self.failures += [Failure("environment", text) for text in _environment(plan, state, start)]
            self.remarks += _remarks(seen, start, layout.scope)
            problems: list[str] = []
            names = [model.name for model in plan.models]
            with (
                tethered(at, server, plan, state, names, problems),
                as_before(server, seen.now, problems, self.timeout) as residents,
            ):
                trial = Trial(at, server, plan, state, residents, start, self.timeout)
                self.placements += _tried(trial, anew=self.depth == "full", only=self.only)
            self.failures += [Failure("put-back", text) for text in problems]
        self.failures += _misplaced(server, plan, {one.seen.name for one in self.placements})

    def exposed(self) -> list[Exposure]:
        """What lets more people in than need be."""
        plan = self.plan
        return exposures(
            self.state,
            plan.layout,
            address=plan.address,
            port=plan.port,
            sources=plan.firewall.sources if plan.firewall else (),
            environment=plan.service.environment,
            release=plan.release.version,
        )


def _tried(trial: Trial, *, anew: bool, only: Collection[str] | None) -> Iterator[PlacementVerdict]:
    for placement in trial.plan.placements:
        name = placement.created.name
        stored = trial.state.store.manifest(placement.created.model) is not None
        if stored and (only is None or name in only):
            verdict = trial.run(placement, anew=anew)
            yield verdict
            if any(
                failure.check == "answer" and "the API hangs" in failure.text for failure in verdict.failures
            ):
                return  # the next would hang as well, each for as long


def _state_failures(plan: HostPlan, state: HostState) -> Iterator[Failure]:
    for item, found in plan.differences(state):
        if item.kind in (PRUNE, "loaded"):
            # What an apply would remove after its proof is no fault of what is there; what is in memory the API says.
            continue
        in_effect = [difference for difference in found if difference.aspect.endswith(" in effect")]
        others = [difference for difference in found if difference not in in_effect]
        for check, differences in (("environment", in_effect), (item.kind, others)):
            if differences:
                text = f"{item.kind} {item.name} is not right: {'; '.join(map(str, differences))}"
                yield Failure(check, text)


def _server_failures(
    server: Ollama, plan: HostPlan, state: HostState, version: str, loaded_now: Collection[str]
) -> Iterator[Failure]:
    if version != plan.release.version:
        yield Failure("version", f"the server says version {version}, wanted {plan.release.version}")
    served = by_name(server.tags())
    for wanted in (*plan.bases, *plan.models):
        there = served.get(wanted.model)
        stored = state.store.manifest(wanted.model)
        if there is None:
            yield Failure(
                "model", f"the server does not list {wanted.name}; does it use {plan.layout.models}?"
            )
        elif stored is None or f"sha256:{there.digest}" != stored.digest:
            yield Failure(
                "model", f"the server has {wanted.name} with digest {there.digest[:12]}, on disk is another"
            )
    loaded = by_name(server.loaded())
    for item in plan.loaded:
        if (item.for_good or item.name in loaded_now) and item.model not in loaded:
            yield Failure("loaded", f"{item.name} is not in memory")


def _misplaced(server: Ollama, plan: HostPlan, tried: Collection[str]) -> Iterator[Failure]:
    """What `/api/ps` admits of the placements that were not tried."""
    loaded = by_name(server.loaded())
    for placement in plan.placements:
        name = placement.created.name
        if name not in tried:
            for text in misplaced(name, loaded.get(placement.created.model), placement.decision):
                yield Failure("offload", text)


def _environment(plan: HostPlan, state: HostState, start: ServerStart) -> list[str]:
    running = state.service.environment or {}
    given = {name: value for name, value in plan.service.environment.items() if running.get(name) == value}
    return not_understood(start.config or {}, given)


def _remarks(seen: Observation, start: ServerStart, scope: Scope) -> Iterator[str]:
    if seen.log is None:
        hint = "; the group systemd-journal may read it" if scope == "user" else ""
        yield f"the server's log cannot be read there{hint}"
    elif start.config is None:
        yield "the server's start is no longer in its log, so what it made of its environment is not known"
    if seen.device_error:
        yield f"the GPUs cannot be read: {seen.device_error}"


def _summary(plan: HostPlan, version: str) -> str:
    names = ", ".join(model.name for model in plan.models) or "no models"
    where = "on loopback only" if plan.loopback_only else f"on {plan.outside_address}:{plan.port}"
    if isinstance(plan.access, WantedAccess):
        where = f"behind a front door on port {plan.access.port}"
    return f"Ollama {version} {where}: {names}"
