"""The fleet.yaml that `init` proposes: for the machine it runs on, as far as that could be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jinja2

from ollama_fleet.artifacts.families import family
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.device import Device
from ollama_fleet.outputs.estimates import speed_words
from ollama_fleet.outputs.sizes import gib
from ollama_fleet.planner.choice import Choice, Preferences
from ollama_fleet.planner.memory import budgets_of
from ollama_fleet.planner.recommendation import recommend
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.values import ReleaseVersion, parse_models_dir, parse_release_version

RELEASE = "0.32.15"
"""What a new fleet gets, unless a newer Ollama is here already."""
FAMILY = "deepseek-r1"
SMALLEST = "deepseek-r1:1.5b"
"""Where nothing is known of the machine, or nothing larger fits."""
CONTEXT, LEAST_CONTEXT = 8192, 4096


@dataclass(frozen=True, slots=True)
class Proposal:
    """The values that the starter's fleet.yaml is filled with, and what to tell the user."""

    found: tuple[str, ...]
    """What is on this machine, a line each."""
    release: str
    base: str
    reasons: tuple[str, ...]
    num_ctx: int
    num_gpu: str | int
    kv_type: str
    gpus: tuple[str, ...] | str
    scope: str
    sudo: bool
    models_dir: str | None


def propose(state: HostState | None, memory: HostMemory | None) -> Proposal:
    """Propose a fleet of one host, this machine.

    Args:
        state: what the probe has read here; None where it could not.
        memory: of this machine, for one without a GPU.
    """
    devices = () if state is None else state.devices
    choice = _choice(devices, memory) if state is not None and not state.device_error else None
    scope = "user" if state is not None and not state.platform.systemd else "system"
    return Proposal(
        found=tuple(_found(state, memory)),
        release=_release(state),
        base=SMALLEST if choice is None else choice.candidate.name,
        reasons=tuple(_reasons(choice, devices)),
        num_ctx=LEAST_CONTEXT if choice is None else choice.num_ctx,
        num_gpu="auto" if devices or choice is None else 0,
        kv_type="f16" if choice is None else choice.kv_type,
        gpus=_kinds(state, devices),
        scope=scope,
        sudo=state is None or state.platform.uid != 0,
        models_dir=_models_dir(state) if scope == "system" else None,
    )


def fleet_text(template: str, proposal: Proposal) -> str:
    """Fill the starter's fleet.yaml."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML; each value is quoted by `value`, each comment is one line
    )
    environment.filters["value"] = _value
    values = {name: getattr(proposal, name) for name in Proposal.__dataclass_fields__}
    lines = {name: [_one_line(line) for line in values[name]] for name in ("found", "reasons")}
    return environment.from_string(template).render({**values, **lines})


def _choice(devices: Sequence[Device], memory: HostMemory | None) -> Choice | None:
    kinds = [
        Device.declared(device.kind, device.index) if device.kind else replace(device, memory_free=None)
        for device in devices
    ]
    preferences = Preferences(num_ctx=CONTEXT, num_ctx_floor=LEAST_CONTEXT, release=RELEASE)
    host_free = None if memory is None else memory.available or memory.total
    found = recommend(budgets_of(kinds), family(FAMILY), preferences, host_free=host_free)
    return found[0] if found else None


def _reasons(choice: Choice | None, devices: Sequence[Device]) -> list[str]:
    if choice is None:
        return ["the smallest of its family, since nothing is known of this machine's GPUs"]
    if not devices:
        return ["for a CPU: `ollama-fleet recommend --gpu NAME` says what a GPU could run"]
    estimate = choice.estimate
    used, free = (sum(getattr(one, term) for one in estimate.devices) for term in ("total", "free"))
    what = "runs wholly on" if choice.full else "runs partly on"
    names = ", ".join(device.name for device in estimate.devices)
    lines = [f"{what} {names}: {gib(used)} of {gib(free)}"]
    if words := speed_words(choice.speed):
        lines[0] += f", {words} expected"
    if choice.rejected is not None:
        lines.append(f"not taken: {choice.rejected.reason}")
    return lines


def _found(state: HostState | None, memory: HostMemory | None) -> list[str]:
    if state is None:
        return []
    gpus = ", ".join(f"{device.name} ({gib(device.memory_total)})" for device in state.devices)
    lines = [f"GPUs here: {gpus or state.device_error or 'none'}"]
    if not state.devices and memory is not None:
        lines.append(f"memory here: {gib(memory.total)}")
    if (version := _installed(state)) is not None:
        lines.append(f"Ollama here: {version}")
    elif state.release.foreign is not None:
        lines.append("Ollama here: of a version that it does not tell")
    listens = (state.service.environment or {}).get("OLLAMA_HOST")
    if listens:
        lines.append(f"it listens on {listens}; who may connect is said by listen and firewall below")
    if state.store.models:
        names = sorted(model.name.short for model in state.store.models)
        lines.append(f"models here, which are left as they are: {', '.join(names)}")
    return lines


def _installed(state: HostState) -> str | None:
    foreign = state.release.foreign
    return state.release.current or (None if foreign is None else foreign.version)


def _release(state: HostState | None) -> str:
    try:
        there: ReleaseVersion = parse_release_version(_installed(state) if state else None)
    except Wrong:
        return RELEASE
    return str(there) if there.numbers > parse_release_version(RELEASE).numbers else RELEASE


def _kinds(state: HostState | None, devices: Sequence[Device]) -> tuple[str, ...] | str:
    """Names of the catalogue, so that CI can plan; `auto` where one of them has no such name."""
    if state is None or state.device_error or any(device.kind is None for device in devices):
        return "auto"
    return tuple(device.kind for device in devices if device.kind is not None)


def _models_dir(state: HostState | None) -> str | None:
    """Where the server that runs here keeps its models, if that is not where they would be anyway."""
    environment = state.service.environment if state else None
    try:
        return parse_models_dir((environment or {})["OLLAMA_MODELS"])
    except (KeyError, Wrong):
        return None


def _value(value: object) -> str:
    """A value in YAML: what JSON says, and plain words plain."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str) and value.replace("-", "").replace(".", "").replace(":", "").isalnum():
        return value if ":" not in value or not value.replace(":", "").isdigit() else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
