"""The JSON Schema of fleet.yaml, for editors: every key with what it means, and what may stand in it.

It is made from the grammar in ``model``; what ``later`` refuses is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ollama_fleet.spec.later import NOT_YET, Later
from ollama_fleet.spec.model import FleetFile

Node = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Node:
    """The schema as plain data, ready to be written as JSON."""
    schema = FleetFile.model_json_schema(by_alias=True)
    for later in NOT_YET:
        for place in later.below:
            for section in _sections(schema, schema, place.split(".") if place else []):
                _withhold(section, later)
    _tidy(schema)
    return {"$schema": DIALECT, "title": "fleet.yaml", **schema}


def _options(schema: Node, node: Node) -> Iterator[Node]:
    """A node without references and alternatives: every object that it may be."""
    if "$ref" in node:
        yield from _options(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    elif "anyOf" in node:
        for option in node["anyOf"]:
            yield from _options(schema, option)
    else:
        yield node


def _sections(schema: Node, node: Node, steps: list[str]) -> Iterator[Node]:
    """The objects at a place of the grammar; ``*`` steps to the values of a map."""
    for option in _options(schema, node):
        if not steps:
            if "properties" in option:
                yield option
            continue
        step, *rest = steps
        found = [option.get("properties", {}).get(step)] if step != "*" else _values(option)
        for below in found:
            if isinstance(below, dict):
                yield from _sections(schema, below, rest)


def _values(node: Node) -> list[object]:
    return [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]


def _withhold(section: Node, later: Later) -> None:
    section["properties"].pop(later.key, None)


def _tidy(node: object) -> None:
    """Take out what is noise in an editor (titles, defaults of null); close maps whose keys are names."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    elif isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] is None:
            del node["default"]
        if isinstance(node.get("patternProperties"), dict):
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _tidy(value)
