"""Small fleets of one host, decided from declared GPUs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ollama_fleet.artifacts.lock import LayerLock, Lock, ModelLock
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec

MIB = 2**20
GIB = 2**30
BEFORE, SINCE = "0.24.0", "0.32.15"
"""Releases of the two generations of the engine."""


def host_of(
    models: dict[str, dict[str, Any]],
    gpus: Sequence[str] | str,
    env: dict[str, Any] | None = None,
    release: str = SINCE,
) -> HostSpec:
    """The host `pc`, which serves all models."""
    document = {
        "version": 1,
        "release": {"version": release},
        "models": models,
        "hosts": {"pc": {"gpus": gpus, "env": env or {}, "models": list(models)}},
    }
    return Fleet.parse(json.dumps(document), catalogue().keys(), published=published).host("pc")


def decisions(
    models: dict[str, dict[str, Any]],
    gpus: Sequence[str],
    env: dict[str, Any] | None = None,
    release: str = SINCE,
    devices: Sequence[Device] | None = None,
    lock: Lock | None = None,
) -> dict[str, Decision]:
    """What is decided for each model; `devices` are what was found, in place of what is declared."""
    host = host_of(models, gpus, env, release)
    there = declared_devices(host) if devices is None else devices
    assert there is not None
    return {item.resolved.name: item.decision for item in host_decisions(host, there, lock or Lock())}


def decision(
    gpus: Sequence[str], env: dict[str, Any] | None = None, release: str = SINCE, **model: Any
) -> Decision:
    """What is decided for one model, `deepseek-r1:32b` at 8192 tokens unless something else is said."""
    settings = {"from": model.pop("base", "deepseek-r1:32b"), "num_ctx": 8192, **model}
    return decisions({"m": settings}, gpus, env, release)["m"]


def lock_entry(facts: Any) -> ModelLock:
    """A model of a lock of which nothing but the facts is of interest."""
    digest = "sha256:" + "1" * 64
    config = LayerLock(media_type="application/vnd.docker.container.image.v1+json", digest=digest, size=1)
    return ModelLock(digest=digest, size=1, config_layer=config, layers=[], facts=facts)
