"""From a YAML document to the sections of the grammar, with every mistake at its place."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from ollama_fleet.spec.errors import KeyPath, SpecError, Wrong, WrongParts, did_you_mean, show
from ollama_fleet.spec.forms import Forms
from ollama_fleet.spec.later import refusals
from ollama_fleet.spec.model import (
    Defaults,
    FleetFile,
    Group,
    Host,
    Model,
    Registry,
    Release,
    Rollout,
    Section,
)
from ollama_fleet.spec.published import NOTHING_PUBLISHED, Published
from ollama_fleet.spec.yaml_source import Data, Document

S = TypeVar("S", bound=Section)

MOST_GUESSES = 200
"""Mistakes of one file for which the nearest right word is looked for."""

_MEANT = {
    "options": "parameters",
    "context": "num_ctx",
    "context_length": "num_ctx",
    "ctx": "num_ctx",
    "n_gpu_layers": "num_gpu",
    "gpu_layers": "num_gpu",
    "num_gpu_layers": "num_gpu",
    "quant": "quantization",
    "quantisation": "quantization",
    "base": "from",
    "prompt": "system",
    "ip": "address",
    "host": "address",
    "hostname": "address",
    "port": "listen",
    "listen": "port",
    "gpu": "gpus",
    "environment": "env",
    "vars": "env",
    "allow": "allow_from",
    "url": "source",
}
"""What people write who know other tools, with the key that is meant."""

_EXPECTED = {
    "model_type": "expected a map, got {}",
    "dict_type": "expected a map, got {}",
    "list_type": "expected a list, got {}",
    "string_type": "expected text, got {}",
    "float_type": "expected a number, got {}",
    "greater_than": "{} is not above 0",
}


@dataclass(slots=True)
class Reading:
    """The sections of a file that could be read, and what is wrong with the others."""

    document: Document
    release: Release | None = None
    defaults: Defaults | None = None
    models: dict[str, Model] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    registries: dict[str, Registry] = field(default_factory=dict)
    rollout: Rollout | None = None
    prune: bool | str = "report"
    published: Published = NOTHING_PUBLISHED
    errors: list[SpecError] = field(default_factory=list)
    _forms: dict[str, Forms] = field(default_factory=dict)
    _groups_of: dict[str, list[str]] | None = None
    _guesses: int = 0
    _wrong: set[KeyPath] = field(default_factory=set)
    _above_wrong: set[KeyPath] = field(default_factory=set)

    def written(self, section: str) -> Mapping[str, Data]:
        """The names that a map of the root holds as written, right or wrong."""
        data = self.document.data
        found = data.get(section) if isinstance(data, dict) else None
        return found if isinstance(found, dict) else {}

    def broken(self, *path: str | int) -> bool:
        """Whether something at, below or above a place is wrong."""
        return path in self._above_wrong or self.covered(path)

    def covered(self, path: KeyPath) -> bool:
        """Whether a mistake was told at a place or above it, so that it need not be told again."""
        return any(path[:length] in self._wrong for length in range(len(path) + 1))

    def forms(self, model: str) -> Forms:
        """The forms that a model can have."""
        if model not in self._forms:
            section = self.models[model]
            own = {name: base for name, base in (section.variants or {}).items() if base is not None}
            self._forms[model] = Forms.of(section.from_, own, self.published)
        return self._forms[model]

    def groups_of(self, host: str) -> Sequence[str]:
        """The groups of a host, in file order; to be asked once all groups are read."""
        if self._groups_of is None:
            self._groups_of = {}
            for group, section in self.groups.items():
                for name in section.hosts:
                    self._groups_of.setdefault(name, []).append(group)
        return self._groups_of.get(host, ())

    def guess(self, word: str, candidates: Iterable[str]) -> str | None:
        """A hint at the nearest word; not for ever, as looking for it among thousands takes milliseconds."""
        self._guesses += 1
        return did_you_mean(word, candidates) if self._guesses <= MOST_GUESSES else None

    def add(self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Note a mistake."""
        self.note(path, self.document.error(path, message, hint, key=key))

    def note(self, path: KeyPath, error: SpecError) -> None:
        """Note a mistake that belongs to a place of the file and may be told at another."""
        self.errors.append(error)
        self._wrong.add(path)
        self._above_wrong.update(path[:length] for length in range(len(path)))


def read(document: Document, published: Published = NOTHING_PUBLISHED) -> Reading:
    """Read every section; what is wrong is in ``errors`` and its section is left out."""
    reading = Reading(document, published=published)
    for place, problem in document.problems:
        reading.note(place, problem)
    if not isinstance(document.data, dict):
        what = "the file is empty" if document.data is None else f"expected a map, got {show(document.data)}"
        reading.add((), what, "begin with `version: 1` and `hosts:`")
        return reading
    for place, problem in refusals(document):
        reading.note(place, problem)
    if document.data.get("hosts") == {}:
        reading.add(("hosts",), "there are no hosts", "write the machines below hosts:", key=True)
    try:
        FleetFile.model_validate(document.data)
    except ValidationError as error:
        new = [mistake for mistake in _mistakes(error, document) if not reading.covered(mistake[0])]
        for path, wrong, at_key in new:
            reading.add(path, wrong.message, wrong.hint, key=at_key)
    _fill(reading)
    return reading


def _fill(reading: Reading) -> None:
    def one(kind: type[S], *path: str) -> S | None:
        data: Any = reading.document.data
        for step in path:
            data = data[step]
        if reading.broken(*path):
            return None
        return kind.model_validate({} if data is None else data)

    def named(kind: type[S], section: str) -> dict[str, S]:
        found = {name: one(kind, section, name) for name in reading.written(section)}
        return {name: value for name, value in found.items() if value is not None}

    root = reading.document.data
    assert isinstance(root, dict)
    if "release" in root:
        reading.release = one(Release, "release")
    reading.defaults = one(Defaults, "defaults") if "defaults" in root else Defaults.model_validate({})
    reading.models = named(Model, "models")
    reading.groups = named(Group, "groups")
    reading.hosts = named(Host, "hosts")
    reading.registries = named(Registry, "registries")
    if root.get("rollout") is not None:
        reading.rollout = one(Rollout, "rollout")
    prune = root.get("prune")
    if not reading.broken("prune") and isinstance(prune, bool | str):
        reading.prune = prune


def _mistakes(error: ValidationError, document: Document) -> list[tuple[KeyPath, Wrong, bool]]:
    """What pydantic found as (path, what is wrong, whether the key is meant)."""
    found: list[tuple[KeyPath, Wrong, bool]] = []
    for item in error.errors(include_url=False):
        path: KeyPath = item["loc"]
        at_key = path[-1:] == ("[key]",) and path not in document.keys  # the mark of a wrong key, not a key
        if at_key:
            path = path[:-1]
        problem = item.get("ctx", {}).get("error")
        if isinstance(problem, WrongParts):
            found.extend(((*path, *below), wrong, wrong.of_key) for below, wrong in problem.parts)
        elif isinstance(problem, Wrong):
            found.append((path, problem, at_key))
        elif item["type"] == "extra_forbidden":
            found.append((path, _unknown_key(path), True))
        elif item["type"] == "missing":
            message = f"{show(path[-1])} is missing"
            found.append((path, Wrong(message, _MISSING_HINT.get(str(path[-1]))), True))
        else:
            text = _EXPECTED.get(item["type"], "{} cannot stand here")
            found.append((path, Wrong(text.format(show(item["input"]))), False))
    return found


_MISSING_HINT = {
    "version": "write version: 1",
    "hosts": "write the machines below hosts:",
    "from": "write what the model is made from, such as qwen3:8b",
}


def _unknown_key(path: KeyPath) -> Wrong:
    *above, key = path
    section = section_at(tuple(above))
    known = _keys(section) if section is not None else []
    if section is Defaults and key == "models":
        return Wrong('unknown key "models"', "ask for models in a group or a host")
    if key == "rollout":
        return Wrong('unknown key "rollout"', "write it at the top of the file")
    meant = _MEANT.get(str(key))
    if meant in known:
        return Wrong(f"unknown key {show(key)}", f"did you mean {show(meant)}?")
    hint = did_you_mean(str(key), known) or f"known here: {', '.join(known)}"
    return Wrong(f"unknown key {show(key)}", hint)


def _keys(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def section_at(path: KeyPath) -> type[Section] | None:
    """The section of the grammar that a path leads to."""
    annotation: Any = FleetFile
    for step in path:
        if isinstance(annotation, type) and issubclass(annotation, Section):
            fields = {info.alias or name: info.annotation for name, info in annotation.model_fields.items()}
            annotation = _bare(fields.get(str(step)))
        elif get_origin(annotation) is dict:
            annotation = _bare(get_args(annotation)[1])
        elif get_origin(annotation) is list:
            annotation = _bare(get_args(annotation)[0])
        else:
            return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _bare(annotation: Any) -> Any:
    """An annotation without Annotated and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return _bare(next(option for option in get_args(annotation) if option is not type(None)))
    return annotation
