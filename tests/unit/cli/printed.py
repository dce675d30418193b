"""What a command printed with `--json`, held against the schema that `ollama-fleet schema` gives for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import jsonschema

from ollama_fleet.outputs.schemas import SCHEMAS


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(SCHEMAS[name]())


def hold_to_schema(arguments: Sequence[str], printed: str) -> None:
    """Fail where JSON of `ollama-fleet ARGUMENTS` is not as its schema says; what printed nothing passes."""
    if "--json" in arguments and printed:
        verb = "lock-check" if {"lock", "--check"} <= set(arguments) else arguments[0]
        _validator(verb).validate(json.loads(printed))
