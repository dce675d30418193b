"""The part of a deploy that changes what a host serves: in turns, past a gate, and back where it fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.api.through import server_of
from ollama_fleet.checks.gate import gate
from ollama_fleet.deploys.source import Source
from ollama_fleet.deploys.windows import can_come_back, server_of_windows
from ollama_fleet.operations import ollama
from ollama_fleet.operations.context import StepFailed, mark_changed, step
from ollama_fleet.operations.guard import Guard, watched
from ollama_fleet.operations.readiness import wait_until_ready
from ollama_fleet.operations.turns import Turns, turns_of
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.placement import Placement
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec


@operation()
def rollout(
    source: Source, spec: HostSpec, plan: HostPlan, state: HostState
) -> Generator[PyinfraCommand, None, None]:
    """Write unit and environment, switch the release, restart, bring models, and see that each of them answers.

    A host on which a server is running waits for its turn. Where anything fails it goes back to the release, the
    environment and the models that it had, and serves again; where too many have failed, those whose turn has not
    come are left as they are.

    Args:
        source: the fleet, for its `rollout`.
        spec: of the host.
        plan: of the host.
        state: what was read of it.
    """
    commands = list(_commands(source, spec, plan, state))
    if not commands and not plan.unproven.differences(state):
        host.noop("the server and its models are as wanted")
        return
    mark_changed(host)
    commands += [_gate(plan, one, _touched(plan, one, state)) for one in plan.instances]
    asked = source.fleet.rollout
    order = [other.name for other in source.fleet.hosts]
    turns = turns_of(host.state, order, asked.batch, asked.max_failures)
    turns.expect(spec.name, host.state.inventory.get_host(host.name))
    if not _has_something_to_lose(plan, state):
        yield from watched(commands, lambda well: turns.end(spec.name, well=well))
        return
    yield step(lambda _: turns.take(spec.name), "rollout", "waiting for its turn" if asked.batch else "")
    yield from _guard(spec, plan, turns).over(commands)


def _commands(source: Source, spec: HostSpec, plan: HostPlan, state: HostState) -> Iterator[PyinfraCommand]:
    scope, models_dir = spec.place, spec.models_dir
    yield from server_of_windows(spec, plan) if spec.os == "windows" else _server(spec, plan)
    yield from ollama.models._inner(
        bases=plan.bases,
        created=plan.models,
        folder=str(source.fleet.folder),
        listen=(plan.address, plan.port),
        scope=scope,
        models_dir=models_dir,
        unit=plan.service.layout.service,
    )
    for instance in plan.instances:
        yield from ollama.load._inner(
            wanted=instance.loaded,
            changed=_to_load(plan, instance, state),
            listen=(instance.address, instance.port),
            scope=scope,
            models_dir=models_dir,
            unit=instance.layout.service,
        )


def _server(spec: HostSpec, plan: HostPlan) -> Iterator[PyinfraCommand]:
    """Commands up to the running server, or servers: units and environments, release, service."""
    scope, models_dir = spec.place, spec.models_dir
    yield from ollama.files._inner(wanted=plan.files, lines=plan.lines, scope=scope, models_dir=models_dir)
    yield from ollama.use._inner(
        version=plan.release.version, archives=plan.release.archives, scope=scope, models_dir=models_dir
    )
    if plan.several or plan.gone:
        named = [instance.service for instance in plan.instances if instance.name]
        yield from ollama.instances._inner(wanted=named, gone=plan.gone, models_dir=models_dir)
    if not plan.several:
        yield from ollama.service._inner(
            environment=plan.service.environment,
            secrets=plan.service.secrets,
            restart_because=plan.service.restart_because,
            scope=scope,
            models_dir=models_dir,
        )


def _to_load(plan: HostPlan, instance: Instance, state: HostState) -> tuple[str, ...]:
    """Names of the models to preload that this run makes leave the memory of a server."""
    changing = {placement.created.model for placement in _touched(plan, instance, state)}
    return tuple(item.name for item in instance.loaded if item.model in changing)


def touched(plan: HostPlan, state: HostState) -> tuple[Placement, ...]:
    """Placements that this run changes: after a restart all of the server's."""
    return tuple(placement for instance in plan.instances for placement in _touched(plan, instance, state))


def _touched(plan: HostPlan, instance: Instance, state: HostState) -> tuple[Placement, ...]:
    if instance.service.needs_restart(state) or plan.unproven.differences(state):
        return instance.placements
    return tuple(
        placement
        for placement in instance.placements
        if placement.created.differences(state) or placement.base.differences(state)
    )


def _has_something_to_lose(plan: HostPlan, state: HostState) -> bool:
    if state.windows is not None and not can_come_back(plan, state):
        return False
    return any(one.active == "active" for one in state.servers) or bool(plan.unproven.differences(state))


def _guard(spec: HostSpec, plan: HostPlan, turns: Turns) -> Guard:
    return Guard(
        layout=plan.layout,
        manager=plan.service.manager,
        created=tuple(model.model.manifest_path for model in plan.models),
        loaded=plan.loaded,
        ended=lambda well: turns.end(spec.name, well=well),
    )


def _gate(plan: HostPlan, instance: Instance, placements: tuple[Placement, ...]) -> FunctionCommand:
    def passes(at: Host) -> None:
        with server_of(at, instance.address, instance.port) as server:
            wait_until_ready(at, server, plan.layout.scope, unit=instance.layout.service)
            if (reason := gate(server, plan.of(instance), placements)) is not None:
                raise StepFailed(f"{instance.name}: {reason}" if instance.name else reason)

    return step(passes, "gate", "trying each model")
