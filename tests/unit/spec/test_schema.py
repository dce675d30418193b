"""The JSON Schema: in step with the grammar, with a description for each key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ollama_fleet.spec.later import NOT_YET
from ollama_fleet.spec.model import FleetFile, Section
from ollama_fleet.spec.parameters import PARAMETERS
from ollama_fleet.spec.schema import json_schema
from ollama_fleet.spec.variables import VARIABLES
from ollama_fleet.spec.yaml_source import load_document

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def sections() -> Iterator[type[Section]]:
    todo: list[type[Section]] = [Section]
    while todo:
        section = todo.pop()
        todo.extend(section.__subclasses__())
        if section.model_fields:
            yield section


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(load_document(path).data)


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_every_key_is_in_it_with_a_description(section: type[Section]) -> None:
    schema = json_schema()
    found = schema if section is FleetFile else schema["$defs"].get(section.__name__)
    if found is None:
        assert section.__name__ == "HostSettings"  # only its heirs stand in a file
        return
    withheld = {later.key for later in NOT_YET}
    keys = {info.alias or name for name, info in section.model_fields.items()} - withheld

    assert found["additionalProperties"] is False
    assert keys <= found["properties"].keys()
    for key, described in found["properties"].items():
        assert described.get("description"), key


def test_variables_and_parameters_are_described() -> None:
    schema = json_schema()
    environment = schema["$defs"]["Host"]["properties"]["env"]["anyOf"][0]["properties"]
    parameters = schema["$defs"]["Model"]["properties"]["parameters"]["anyOf"][0]["properties"]

    assert environment.keys() == VARIABLES.keys()
    assert parameters.keys() == PARAMETERS.keys()
    for described in [*environment.values(), *parameters.values()]:
        assert described["description"].endswith(".")


GOOD: dict[str, Any] = {"version": 1, "release": {"version": "0.30.2"}, "hosts": {"a": None}}


@pytest.mark.parametrize(
    "more",
    [
        {
            "defaults": {
                "env": {"OLLAMA_DEBUG": 2, "OLLAMA_KEEP_ALIVE": "24h", "GREETING": "x", "OLLAMA_VULKAN": None}
            }
        },
        {"defaults": {"listen": "[::1]:11434", "models_dir": None, "sudo": False}},
        {"models": {"team/m:v1": {"from": "x", "num_gpu": "engine", "num_ctx": 4, "keep_alive": -1}}},
        {"models": {"m": {"from": "x", "num_gpu": "auto", "quantization": "auto", "num_ctx_min": 4096}}},
        {"models": {"m": {"from": "x", "per_gpu": {"rtx-4090": {"quantization": ["q8_0", "q4_K_M"]}}}}},
        {"hosts": {"a": {"models": {"m": None}}, "b": {"models": ["m"]}, "c": {"gpus": "auto"}}},
        {"prune": False},
        {"defaults": {"instances": 1, "os": "linux"}},
        {"defaults": {"instances": "per-gpu"}},
        {
            "hosts": {
                "a": {
                    "instances": [{"name": "a", "devices": ["rtx-4090"], "port": 1, "models": [], "env": {}}]
                }
            }
        },
        {
            "hosts": {
                "a": {
                    "instances": [{"name": "a", "devices": [f"GPU-{'0' * 16}"]}, {"name": "b", "devices": []}]
                }
            }
        },
    ],
)
def test_good_values(more: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate({**GOOD, **more})
