"""All models of one host, decided together: what is loaded for good shares the GPUs, the rest comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.hardware.catalogue import candidates
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.decision import Decision, Decisions, Surroundings
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.release_limits import check_base
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.model_request import ResolvedModel


@dataclass(frozen=True, slots=True)
class Decided:
    """A model of a host, as asked for and as decided."""

    resolved: ResolvedModel
    decision: Decision


def host_decisions(
    spec: HostSpec, devices: Sequence[Device], lock: Lock, decisions: Decisions | None = None
) -> tuple[Decided, ...]:
    """Decide every model of a host, in the order of fleet.yaml.

    Preloaded models must fit together, so each takes what those before it leave. Every other model may have the
    GPUs for itself; where it then takes room from a preloaded one, that is remarked.

    Args:
        spec: what was asked.
        devices: the host's GPUs.
        lock: what names stand for.
        decisions: those made with this lock for other hosts, to be used again.

    Raises:
        PlanError: a model does not work out on the host, or not with its release.
        SpecErrors: what was said of a model does not either.
    """
    kinds = [device.kind for device in devices if device.kind is not None]
    resolved = [request.for_devices(kinds) for request in spec.models]
    empty = Surroundings.of(devices, spec.env, str(spec.release.version))
    left = empty
    made = decisions or Decisions(lock)
    found: dict[str, Decision] = {}
    for model in (model for model in resolved if model.preload):
        found[model.name] = made.decide(model, left)
        left = left.without(found[model.name].estimate)
    for model in (model for model in resolved if not model.preload):
        found[model.name] = _remark_eviction(made.decide(model, empty), left)
    for model in resolved:
        if not found[model.name].candidate.is_file:
            check_base(spec, model.name, found[model.name].candidate.base, lock)
    return tuple(Decided(model, found[model.name]) for model in resolved)


def _remark_eviction(decision: Decision, left: Surroundings) -> Decision:
    if decision.estimate is None:
        return decision
    pairs = zip(decision.estimate.devices, left.gpus, strict=True)
    if any(used.total > gpu.free and used.total <= used.free for used, gpu in pairs):
        remark = "loading it takes a preloaded model out of the GPU's memory"
        return replace(decision, remarks=(*decision.remarks, remark))
    return decision


def declared_devices(spec: HostSpec) -> tuple[Device, ...] | None:
    """The GPUs that fleet.yaml declares for a host; None where only the host knows."""
    if spec.gpus == "auto":
        return None
    return tuple(Device.declared(kind, index) for index, kind in enumerate(spec.gpus))


def planned_devices(spec: HostSpec, found: Sequence[Device], device_error: str | None) -> tuple[Device, ...]:
    """The GPUs to plan for: those declared, which must be there, or those found.

    Raises:
        PlanError: a declared GPU is not there, or nobody can say which are.
    """
    declared = declared_devices(spec)
    if declared is None:
        if device_error:
            # Going on would plan for the CPU, and change models for the time that a driver is broken.
            raise PlanError(f"the GPUs cannot be read: {device_error}")
        return tuple(found)
    missing = _missing([device.kind or "" for device in declared], found)
    if missing:
        there = ", ".join(device.name for device in found) or device_error or "none"
        raise PlanError(f"{spec.origin.get('gpus')}: gpus: {', '.join(missing)} declared, but found: {there}")
    return declared


def _missing(declared: Sequence[str], found: Sequence[Device]) -> list[str]:
    """Declared GPUs that no device is left for; some kinds share name and size, so each device may be several."""
    free = [candidates(device.name, device.memory_total >> 20) for device in found]
    missing = []
    for kind in declared:
        match = next((index for index, gpus in enumerate(free) if any(gpu.key == kind for gpu in gpus)), None)
        if match is None:
            missing.append(kind)
        else:
            free.pop(match)
    return missing
