"""The schemas are schemas, and what is printed is what they say (`lock` and `drift`: in the tests of these)."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest

from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.doctor.diagnosis import Finding
from ollama_fleet.checks.exposure import Exposure
from ollama_fleet.deploys.examined import Examined
from ollama_fleet.hardware.device import Device
from ollama_fleet.outputs.clients.every import CLIENTS, clients_document, settings_for
from ollama_fleet.outputs.diagnoses import diagnoses_document
from ollama_fleet.outputs.endpoints import endpoints
from ollama_fleet.outputs.plans import PlannedHost, plan_document
from ollama_fleet.outputs.schemas import SCHEMAS
from ollama_fleet.outputs.verification import verification_document
from ollama_fleet.planner.host_decisions import declared_devices, host_decisions
from ollama_fleet.planner.memory import FitOptions, budgets_of, fit
from unit.outputs.test_verification import RIGHT, WRONG
from unit.planner.fleets import host_of


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name]())


def test_plan() -> None:
    models = {
        "open": {"from": "deepseek-r1:32b", "quantization": "auto", "num_ctx": 8192, "num_gpu": "auto"},
        "unknown": {"from": "who/ever", "num_ctx": 512, "num_gpu": 3},
    }
    host = host_of(models, ["rtx-4090"])
    devices = declared_devices(host)
    assert devices
    planned = [
        PlannedHost("pc", ("rtx-4090",), host_decisions(host, devices, Lock())),
        PlannedHost("who-knows", None),
        PlannedHost("broken", (), error="it cannot be"),
    ]
    jsonschema.Draft202012Validator(SCHEMAS["plan"]()).validate(plan_document(planned))


@pytest.mark.parametrize("gpus", [[], ["rtx-4090"], ["rtx-4090", "rtx-3090"]])
def test_fit(gpus: list[str]) -> None:
    known = find_model(ModelName.parse("deepseek-r1:32b"))
    assert known
    machine = budgets_of([Device.declared(name, index) for index, name in enumerate(gpus)])
    estimate = fit(known.facts, machine, FitOptions(num_ctx=8192))
    jsonschema.Draft202012Validator(SCHEMAS["fit"]()).validate({"version": 1, **estimate.to_dict()})


def test_clients() -> None:
    host = host_of(
        {"m": {"from": "deepseek-r1:7b", "num_ctx": 512}, "e": {"from": "nomic-embed-text", "num_ctx": 9}}, []
    )
    found = endpoints([host], Lock())
    document = clients_document(found, settings_for(list(CLIENTS), found))
    jsonschema.Draft202012Validator(SCHEMAS["clients"]()).validate(document)


def test_doctor() -> None:
    sick = Examined("pc", (Finding("port", "problem", "taken", "stop it"), Finding("clock", "ok", "agrees")))
    document = diagnoses_document([sick])
    jsonschema.Draft202012Validator(SCHEMAS["doctor"]()).validate(document)
    assert not document["healthy"]


def test_verify() -> None:
    exposed = replace(RIGHT, host="open", exposed=(Exposure("port", "everybody gets in", "shut it"),))
    document = verification_document([WRONG, exposed])
    jsonschema.Draft202012Validator(SCHEMAS["verify"]()).validate(document)
    assert document["hosts"]["open"]["exposed"] == [
        {"check": "port", "text": "everybody gets in", "remedy": "shut it"}
    ]
