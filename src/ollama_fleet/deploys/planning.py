"""From a connected host to its plan: the probe, and what only the server knows."""

from __future__ import annotations

from pyinfra.api.host import Host

from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.listed import by_name
from ollama_fleet.api.through import server_of
from ollama_fleet.deploys.secrets import access_secrets_of, secrets_of
from ollama_fleet.deploys.source import Source
from ollama_fleet.planner.host_plan import HostPlan, plan_host
from ollama_fleet.planner.instance import Instance
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.fact import probe, remember
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.spec.hosts import HostSpec


def plan_connected(host: Host, source: Source, spec: HostSpec) -> tuple[HostPlan, HostState]:
    """Read a host, unless this run has read it already, and decide what it should be.

    Raises:
        ProbeFailed: the host could not be read; pyinfra has said why and failed it.
        ProbeError: what it answered makes no sense.
        PlanError: it cannot be planned.
        SpecErrors: a model's settings do not work out on its devices.
    """
    request = ProbeRequest(Layout.of(spec.place, spec.models_dir))
    state, layout = probe(host, request)
    secrets = secrets_of(spec, source.fleet.folder)
    access = access_secrets_of(spec, source.fleet.folder)
    plan = plan_host(spec, source.lock, source.insecure, source.templates, secrets, state, layout, access)
    asked = [
        instance
        for instance in plan.instances
        if instance.sees(state).loaded is None
        and instance.sees(state).service.active == "active"
        and any(item.for_good for item in instance.loaded)
    ]
    if asked:
        loaded = {instance.name: _loaded(host, instance) for instance in asked}
        state = remember(host, request, loaded)
    return plan, state


def _loaded(host: Host, instance: Instance) -> tuple[str, ...] | None:
    """Ask a server what is in memory; one that does not answer is the service's problem, told elsewhere."""
    try:
        with server_of(host, instance.address, instance.port) as server:
            return tuple(name.short for name in by_name(server.loaded()))
    except ApiError:
        return None
