"""What `init` proposes is a fleet that is valid and that fits the machine it was proposed for."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.device import Device
from ollama_fleet.outputs.plans import planned_host
from ollama_fleet.outputs.proposal import fleet_text, propose
from ollama_fleet.planner.state import ForeignBinary, HostState, ModelStore, ReleaseState, StoredModel
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.hosts import HostSpec
from unit.planner.states import FRESH, STUDENT

GIB = 2**30
MEMORY = HostMemory(32 * GIB, 24 * GIB)
TEMPLATE = files("ollama_fleet").joinpath("starter/fleet.yaml.j2").read_text(encoding="utf-8")


def with_gpus(*kinds: str) -> HostState:
    return replace(FRESH, devices=tuple(Device.declared(kind, index) for index, kind in enumerate(kinds)))


def proposed(state: HostState | None, memory: HostMemory | None = MEMORY) -> tuple[HostSpec, str]:
    """The only host of the proposed fleet, and its text."""
    text = fleet_text(TEMPLATE, propose(state, memory))
    (host,) = Fleet.parse(text, catalogue().keys(), published=published).hosts
    return host, text


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        ("rtx-4090",),
        ("rtx-4060-ti-16gb",),
        ("rtx-3060-12gb",),
        ("rtx-4090", "rtx-3060-12gb"),
        ("a100-80gb", "a100-80gb"),
        ("rx-7900-xtx",),
    ],
    ids=", ".join,
)
def test_it_fits_the_machine(kinds: tuple[str, ...]) -> None:
    host, _ = proposed(with_gpus(*kinds))

    assert host.gpus == kinds
    planned = planned_host(host, Lock())
    assert planned.error is None
    (item,) = planned.decided
    assert item.decision.fits
    assert item.decision.estimate is not None
    assert item.decision.estimate.full == bool(kinds)


def test_a_larger_gpu_gets_a_larger_model() -> None:
    (small,), (large,) = (proposed(with_gpus(kind))[0].models for kind in ("rtx-3060-12gb", "rtx-4090"))
    assert "14B" in small.from_
    assert large.from_ == "deepseek-r1:32b"


@pytest.mark.parametrize(
    "state",
    [None, replace(FRESH, device_error="the driver does not answer")],
    ids=["nothing could be read", "a driver that is broken"],
)
def test_where_the_gpus_are_not_known_an_apply_looks(state: HostState | None) -> None:
    host, text = proposed(state, None)

    assert host.gpus == "auto"
    assert "the smallest of its family" in text


def test_a_gpu_that_is_not_in_the_catalogue() -> None:
    device = replace(Device.declared("rtx-4090", 0), kind=None, name="RTX 9999: new\nversion: 2 # '\"")

    host, text = proposed(replace(FRESH, devices=(device,)))

    assert host.gpus == "auto"
    assert "# GPUs here: RTX 9999: new?version: 2 # '\" (24.0 GiB)" in text.splitlines()


def test_what_is_here_is_told_and_kept() -> None:
    manifest = StoredModel(ModelName.parse("qwen3:8b"), b"{}")
    service = replace(
        FRESH.service, environment={"OLLAMA_MODELS": "/data/my models", "OLLAMA_HOST": "0.0.0.0"}
    )
    state = replace(
        with_gpus("rtx-4090"),
        release=ReleaseState(foreign=ForeignBinary("/usr/local/bin/ollama", "0.11.4")),
        store=ModelStore(models=(manifest,)),
        service=service,
    )

    host, text = proposed(state)

    assert host.models_dir == "/data/my models"
    assert str(host.release.version) == "0.32.15"
    assert "# Ollama here: 0.11.4" in text
    assert "# it listens on 0.0.0.0; " in text
    assert "# models here, which are left as they are: qwen3:8b" in text


def test_a_newer_ollama_is_not_taken_back() -> None:
    state = replace(FRESH, release=ReleaseState(current="0.99.1"))
    assert str(proposed(state)[0].release.version) == "0.99.1"


def test_without_systemd_all_lives_in_ones_home() -> None:
    host, _ = proposed(replace(STUDENT, platform=replace(STUDENT.platform, systemd=False)))
    assert (host.scope, host.sudo) == ("user", False)

    host, _ = proposed(STUDENT)
    assert (host.scope, host.sudo) == ("system", True)
