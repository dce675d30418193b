"""The reference of fleet.yaml: every key with type, default and example, and each of them true."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.schema import json_schema
from unit.documents import REST, ROOT, merged

TOLD: dict[str, Any] = yaml.safe_load((ROOT / "docs/reference.yaml").read_text(encoding="utf-8"))
SHARED = ("Defaults", "Group", "Host")
LISTS = ("env", "parameters")
RELEASES = ("0.32.15", "0.24.0", "0.11.10", "0.9.0")
"""Some variables are read by some of these only."""
KEYS = [(section, key) for section, keys in TOLD.items() if section not in LISTS for key in keys]
WRITTEN = [(section, key) for section, key in KEYS if "default" in TOLD[section][key]]


def at(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """These settings where the section stands in a fleet."""
    match section:
        case "FleetFile":
            return settings
        case "HostSettings" | "Host":
            return {"hosts": {"gpu-01": settings}}
        case "Group":
            return {"groups": {"rack": {"hosts": ["gpu-01"], **settings}}}
        case "Model" | "ModelSettings":
            return {"models": {"reasoner": settings}}
        case "Expect":
            return {"models": {"reasoner": {"expect": settings}}}
        case "Release" | "Rollout":
            return {section.lower(): settings}
        case "Firewall" | "Ssh" | "Access":
            return {"hosts": {"gpu-01": {section.lower(): settings}}}
        case "Acme":
            return {"hosts": {"gpu-01": {"access": {"acme": settings}}}}
        case "Instance":
            own = {"name": "one", "devices": ["rtx-4090"], **settings}
            return {"hosts": {"gpu-01": {"instances": [own]}}}
        case "Registry":
            return {"registries": {"registry.lab:5000": settings}}
    raise AssertionError(f"say here where {section} stands in a fleet")


def fleet(*parts: dict[str, Any]) -> Fleet:
    """The parts, put into a fleet that has the rest. Raises SpecErrors."""
    document: Any = REST
    for part in parts:
        document = merged(document, part)
    return Fleet.parse(yaml.safe_dump(document), catalogue().keys(), folder=ROOT, published=published)


def test_every_key_has_a_default_and_an_example() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    shared = set.intersection(*(set(definitions[name]["properties"]) for name in SHARED))
    settings = set(definitions["ModelSettings"]["properties"])
    wanted = {"FleetFile": set(schema["properties"]), "HostSettings": shared}
    required = {"FleetFile": set(schema["required"]), "HostSettings": set()}
    for name, definition in definitions.items():
        without = {"Group": shared, "Host": shared, "Model": settings}.get(name, set())
        if name != "Defaults":
            wanted[name] = set(definition["properties"]) - without
            required[name] = set(definition.get("required", ()))

    assert {name: set(keys) for name, keys in TOLD.items() if name not in LISTS} == wanted
    for section, key in KEYS:
        told = TOLD[section][key]
        assert "example" in told, key
        assert ("default" in told) + ("none" in told) + (key in required[section]) == 1, key


def test_the_page_shows_type_default_and_example_of_every_key() -> None:
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| `(\w+): (.+?)` \| (.+) \|$", page, re.MULTILINE)

    assert len(rows) == len(KEYS)
    assert all(key == again for key, _, _, again, _, _ in rows)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_examples_are_valid(section: str, key: str) -> None:
    told = TOLD[section][key]

    fleet(at(section, {key: told["example"]}), told.get("with", {}))


@pytest.mark.parametrize(("section", "key"), WRITTEN)
def test_defaults_written_out_change_nothing(section: str, key: str) -> None:
    told = TOLD[section][key]

    more = told.get("with", {})

    left_out = meaning(at(section, {key: None}), more)
    rest = [more] if left_out else []  # what goes with the example alone may be refused
    plain = meaning(at(section, {key: None}), *rest)
    assert plain is not None
    assert meaning(at(section, {key: told["default"]}), *rest) == plain
    # A template is looked for by its name, whichever it is; and some keys take one word so far.
    if key != "modelfile" and told["example"] != told["default"]:
        assert meaning(at(section, {key: told["example"]}), more) != left_out


def meaning(*parts: dict[str, Any]) -> object:
    """What a fleet comes to, without the lines that gave it; None where it is refused."""
    try:
        found = fleet(*parts)
    except SpecErrors:
        return None
    hosts = [
        (
            replace(host, origin={}, models=()),
            [replace(request.for_devices(kinds), origin={}) for request in host.models],
        )
        for host in found.hosts
        for kinds in [() if host.gpus == "auto" else host.gpus]
    ]
    return hosts, found.prune, found.rollout, found.registries


@pytest.mark.parametrize("name", TOLD["env"])
def test_examples_of_variables_are_valid(name: str) -> None:
    part = {"defaults": {"env": {name: TOLD["env"][name]}}}

    assert any(meaning(part, {"release": {"version": version}}) for version in RELEASES)


@pytest.mark.parametrize("name", TOLD["parameters"])
def test_examples_of_parameters_are_valid(name: str) -> None:
    fleet({"models": {"reasoner": {"parameters": {name: TOLD["parameters"][name]}}}})
