"""What an apply must have achieved, proven on the host, by its API and from outside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from pyinfra.api.host import Host

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.through import ends, server_of, ssh_transport
from ollama_fleet.checks import reach
from ollama_fleet.operations.context import StepFailed, just_loaded
from ollama_fleet.operations.readiness import wait_until_ready
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.prune import KIND as PRUNE
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks found."""

    failures: tuple[str, ...]
    summary: str
    """One line about a host that is right."""


def check(host: Host, plan: HostPlan, state: HostState, *, changed: bool) -> Verdict:
    """Hold a host against its plan.

    Args:
        host: connected.
        plan: what should be.
        state: what was read of the host, after the last change.
        changed: whether this run changed the host; then also what only a change can break is looked at.
    """
    failures = [
        f"{item.kind} {item.name} is still not right: {'; '.join(map(str, found))}"
        for item, found in plan.differences(state)
        if item.kind != PRUNE  # comes after the proof
    ]
    seen = ""
    try:
        with server_of(host, plan.address, plan.port) as server:
            seen = wait_until_ready(host, server, plan.layout.scope) if changed else server.version()
            failures += _server_failures(server, plan, state, seen, just_loaded(host))
    except (ApiError, StepFailed) as error:
        failures.append(str(error))
    failures += _outside_failures(host, plan, state, changed=changed)
    return Verdict(tuple(failures), _summary(plan, seen))


def _server_failures(
    server: Ollama, plan: HostPlan, state: HostState, version: str, loaded_now: Collection[str]
) -> list[str]:
    failures = []
    if version != plan.release.version:
        failures.append(f"the server says version {version}, wanted {plan.release.version}")
    served = by_name(server.tags())
    for wanted in (*plan.bases, *plan.models):
        there = served.get(wanted.model)
        stored = state.store.manifest(wanted.model)
        if there is None:
            failures.append(f"the server does not list {wanted.name}; does it use {plan.layout.models}?")
        elif stored is None or f"sha256:{there.digest}" != stored.digest:
            failures.append(
                f"the server has {wanted.name} with digest {there.digest[:12]}, on disk is another"
            )
    must_be_loaded = [item for item in plan.loaded if item.for_good or item.name in loaded_now]
    if must_be_loaded:
        loaded = by_name(server.loaded())
        failures += [f"{item.name} is not in memory" for item in must_be_loaded if item.model not in loaded]
    return failures


def _outside_failures(host: Host, plan: HostPlan, state: HostState, *, changed: bool) -> list[str]:
    transport = ssh_transport(host)
    seen = None if transport is None else ends(transport)
    if seen is None or plan.loopback_only:
        return []
    own, other = seen
    address = other if ip_address(plan.address).is_unspecified else plan.address
    guarded = plan.firewall is not None and state.firewall.active
    if not guarded or plan.firewall is None or reach.may_reach(own, plan.firewall.sources):
        problem = reach.greet(address, plan.port)
        if problem and plan.firewall is None:
            problem += "; without root no firewall is touched, ask an administrator to open the port"
    elif changed:
        problem = reach.shut(address, plan.port)
    else:
        problem = None
    return [problem] if problem else []


def _summary(plan: HostPlan, version: str) -> str:
    names = ", ".join(model.name for model in plan.models) or "no models"
    where = "on loopback only" if plan.loopback_only else f"on {plan.outside_address}:{plan.port}"
    return f"Ollama {version} {where}: {names}"
