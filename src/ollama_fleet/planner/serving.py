"""What one server serves, and with which variables: of a host's only one, or of one of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.host_decisions import host_decisions
from ollama_fleet.planner.items.model import WantedLoaded
from ollama_fleet.planner.items.release import WantedRelease
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.placement import Placement, place
from ollama_fleet.planner.release_limits import check_request
from ollama_fleet.planner.render import Templates
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.values import Duration, parse_duration

RELEASE_MARK = "OLLAMA_FLEET_RELEASE"
"""In the service's environment: the release that the running process was started from."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a plan of a host is made from, beside what was asked."""

    lock: Lock
    insecure: frozenset[str]
    templates: Templates
    secrets: Mapping[str, SecretStr]
    state: HostState
    layout: Layout


def placements_on(spec: HostSpec, devices: Sequence[Device], given: Given) -> tuple[Placement, ...]:
    """Decide and work out the models of a server on its devices.

    Raises:
        PlanError: a model does not work out there.
        SpecErrors: what was said of a model does not either.
    """
    placements = tuple(
        place(
            decided.resolved,
            decided.decision,
            spec.name,
            given.lock,
            given.insecure,
            given.templates,
            given.state,
        )
        for decided in host_decisions(spec, devices, given.lock)
    )
    for placement in placements:
        check_request(spec, placement.resolved.name, placement.created.request)
    return placements


def environment_of(spec: HostSpec, release: WantedRelease, layout: Layout) -> dict[str, str]:
    """Return the variables of a server that anybody may see."""
    environment = {
        "OLLAMA_HOST": str(spec.listen),
        "OLLAMA_MODELS": layout.models,
        RELEASE_MARK: f"{release.version} {release.archives[0].sha256[:16]}",
        **spec.env,
    }
    return dict(sorted(environment.items()))


def loaded_of(
    spec: HostSpec, placements: Sequence[Placement], instance: str = ""
) -> tuple[WantedLoaded, ...]:
    """Return what a server is to have in memory."""
    return tuple(_loaded(spec, placement, instance) for placement in placements if placement.preload)


def _loaded(spec: HostSpec, placement: Placement, instance: str) -> WantedLoaded:
    own: Duration | None = placement.resolved.keep_alive
    general = spec.env.get("OLLAMA_KEEP_ALIVE")
    keep_alive = own or (parse_duration(general) if general else None)
    return WantedLoaded(
        placement.created.model,
        str(own) if own else None,
        for_good=keep_alive is not None and keep_alive.seconds < 0,
        instance=instance,
    )
