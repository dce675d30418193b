"""Families of models that a fleet can be planned with before anything was asked of a network.

The data is `families.yaml` beside this module. Digests are not in it: they come from `ollama-fleet lock`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

from ollama_fleet.artifacts.header_facts import facts_of_header
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.quantization import MIXTURES
from ollama_fleet.artifacts.tensor_shapes import Shape, header_of_shape

__all__ = [
    "USUAL",
    "Family",
    "FamilyModel",
    "FamilySize",
    "UnknownFamily",
    "families",
    "family",
    "find_model",
]


USUAL = "Q4_K_M"
"""What Ollama's library takes where a tag does not say."""


class UnknownFamily(LookupError):
    """A family that is not in the catalogue; one line, with the nearest name that is."""


@dataclass(frozen=True)
class FamilyModel:
    """One size in one quantisation.

    `quantization` is as llama.cpp names it (Q4_K_M); `names` are the names it is pulled by, the usual one
    first; there is none for a quantisation that nobody publishes in a form that Ollama pulls.
    """

    family: str
    size: str
    quantization: str
    names: tuple[str, ...]
    shape: Shape
    title: str
    split_projections: bool = False

    @functools.cached_property
    def facts(self) -> ModelFacts:
        """Facts as a file of this shape and quantisation has them; `file_bytes` is 0, not being known."""
        facts = facts_of_header(header_of_shape(self.shape, self.quantization, self.title))
        facts = replace(facts, quantization=self.quantization)
        if facts.latent is not None and self.split_projections:
            facts = replace(facts, latent=replace(facts.latent, split=True))
        return facts


@dataclass(frozen=True)
class FamilySize:
    """One size: its quantisations from the largest to the smallest, by llama.cpp's name."""

    family: str
    size: str
    title: str
    models: Mapping[str, FamilyModel]

    def model(self, quantization: str) -> FamilyModel | None:
        """The model of a quantisation, in any case; fp16 means F16."""
        folded = quantization.upper()
        return self.models.get("F16" if folded == "FP16" else folded)


@dataclass(frozen=True)
class Family:
    """A family: its sizes from the smallest to the largest, by the tag that pulls them."""

    name: str
    default: str
    sizes: Mapping[str, FamilySize]


def family(name: str) -> Family:
    """A family by its name in Ollama's library, such as deepseek-r1.

    Raises:
        UnknownFamily: when it is not in the catalogue.
    """
    known = families()
    found = known.get(name.lower())
    if found is None:
        nearest = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"; do you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"
        raise UnknownFamily(f"family {name!r} is not in the catalogue{hint}")
    return found


def find_model(name: ModelName) -> FamilyModel | None:
    """The model of the catalogue that a name pulls; None where the catalogue does not have it."""
    return _by_name().get(name.folded)


@functools.cache
def families() -> Mapping[str, Family]:
    """All families by name; read once."""
    text = resources.files(__package__).joinpath("families.yaml").read_text("utf-8")
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - it is safe
    found = {name: _family(name, entry) for name, entry in data["families"].items()}
    return MappingProxyType(found)


@functools.cache
def _by_name() -> Mapping[str, FamilyModel]:
    found = {}
    for each in families().values():
        for size in each.sizes.values():
            for model in size.models.values():
                found.update({ModelName.parse(name).folded: model for name in model.names})
    return found


def _family(name: str, entry: Mapping[str, Any]) -> Family:
    sizes = {tag: _size(name, tag, size) for tag, size in entry["sizes"].items()}
    return Family(name, entry["default"], MappingProxyType(sizes))


def _size(family_name: str, size: str, entry: Mapping[str, Any]) -> FamilySize:
    shape = Shape(**entry["shape"])
    names: dict[str, list[str]] = {}
    for word, quantization in entry["ollama"].items():
        tags = [prefix + word for prefix in entry["prefixes"]]
        if quantization == USUAL:
            tags = [*entry["plain_tags"], *tags]
        names[quantization] = [f"{family_name}:{tag}" for tag in tags]
    for quantization in entry.get("hub_quantizations", ()):
        names[quantization] = [f"{entry['hub']}:{quantization}"]
    for quantization in entry.get("unpublished", ()):
        names[quantization] = []
    models = [
        FamilyModel(
            family=family_name,
            size=size,
            quantization=quantization,
            names=tuple(pulled_by),
            shape=replace(shape, both_projections=quantization in entry.get("both_projections", ())),
            title=entry["title"],
            split_projections=entry.get("split_projections", False),
        )
        for quantization, pulled_by in names.items()
    ]
    models.sort(key=lambda model: list(MIXTURES).index(model.quantization))
    return FamilySize(
        family_name, size, entry["title"], MappingProxyType({model.quantization: model for model in models})
    )
