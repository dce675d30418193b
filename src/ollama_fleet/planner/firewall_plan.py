"""Which port of a host is open to whom, and whether the firewall that is demanded is the one that is there."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.items.firewall import ANYWHERE, WantedFirewall
from ollama_fleet.planner.items.firewall.switching import to_switch_on
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec


def firewall_of(
    spec: HostSpec, ports: Sequence[int], state: HostState, layout: Layout
) -> WantedFirewall | None:
    """What the firewall should let through; None where it is not touched. Raises PlanError.

    Args:
        spec: who may come in, and whether by a front door.
        ports: of the host's servers.
        state: which firewall is there.
        layout: of the host.
    """
    if layout.scope == "user":
        return None
    switched = None
    if spec.firewall_enabled:
        by_ssh = spec.connector == "ssh"
        try:
            switched = to_switch_on(state.firewall, spec.firewall_backend, by_ssh=by_ssh)
        except PlanError as error:
            raise PlanError(f"{spec.origin.get('firewall.enabled')}: firewall.enabled: {error}") from error
    if switched is None:
        _check_firewall(spec, state)
    # Behind a front door nobody comes in without a token, so everybody may knock unless the file says who may.
    sources = tuple(map(str, spec.allow_from)) or (ANYWHERE if spec.expose or spec.access else ())
    at = spec.access.listen if spec.access else spec.listen
    used = (at.port,) if spec.access else tuple(sorted(ports))
    if taken := sorted({*used} & {*state.firewall.ssh_ports}):
        raise PlanError(f"port {taken[0]} is where sshd listens; choose another port for Ollama")
    return WantedFirewall(used, sources, layout, present=not at.is_loopback, switched=switched)


def _check_firewall(spec: HostSpec, state: HostState) -> None:
    demanded, there = spec.firewall_backend, state.firewall
    if demanded == "auto" or (there.active and there.backend == demanded):
        return
    origin = spec.origin.get("firewall.backend")
    if there.active:
        found, advice = f"the firewall there is {there.backend}", "switch firewalls on the host"
    else:
        found, advice = "no firewall is active there", "write enabled: true to have it switched on"
    raise PlanError(
        f"{origin}: firewall.backend: {demanded} is demanded, but {found}; {advice}, or write backend: auto"
    )
