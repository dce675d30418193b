"""What a server lists, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from ollama_fleet.api.client import LoadedModel, TaggedModel
from ollama_fleet.artifacts.names import ModelName, ModelNameError

Listed = TypeVar("Listed", TaggedModel, LoadedModel)


def by_name(models: Iterable[Listed]) -> dict[ModelName, Listed]:
    """Return models by name; those whose names are no names of ours, such as stubs of cloud models, are left out."""
    found = {}
    for model in models:
        try:
            found[ModelName.parse(model.name)] = model
        except ModelNameError:
            continue
    return found
