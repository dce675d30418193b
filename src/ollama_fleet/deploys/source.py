"""The files that a run is made from: fleet.yaml, fleet.lock, templates and Modelfiles, read once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ollama_fleet.artifacts.families import USUAL, FamilySize, families, find_model
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.measured import FILE as MEASURED_FILE
from ollama_fleet.artifacts.measured import Measurements
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.planner.render import Templates
from ollama_fleet.spec.errors import SpecError, SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.names import is_file_base
from ollama_fleet.spec.published import Published, PublishedSize

ENVIRONMENT = "OLLAMA_FLEET"
FLEET_FILE = "fleet.yaml"
LOCK_FILE = "fleet.lock"
FOLDERS = ("templates", "modelfiles")


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked and what it stands for."""

    fleet: Fleet
    lock: Lock
    templates: Templates

    @property
    def insecure(self) -> frozenset[str]:
        """Registries spoken to by plain HTTP."""
        return frozenset(name for name, registry in self.fleet.registries.items() if registry.insecure)


def fleet_path(beside: Path) -> Path:
    """Return `$OLLAMA_FLEET`, or the fleet.yaml in the folder `beside`."""
    override = os.environ.get(ENVIRONMENT)
    return Path(override).expanduser() if override else beside / FLEET_FILE


@lru_cache(maxsize=4)
def load_source(path: Path) -> Source:
    """Read a fleet with its lock and templates.

    Raises:
        SpecErrors: the fleet or the lock is wrong; all mistakes of a file at once.
    """
    # The fleet first: what is wrong there comes before what is not locked yet.
    fleet = load_fleet(path)
    lock = Lock.load(path.with_name(LOCK_FILE)).with_measured(load_measured(path))
    return Source(fleet, lock, load_templates(path.parent))


def load_fleet(path: Path) -> Fleet:
    """Read a fleet, with names of GPUs and quantisations checked. Raises SpecErrors."""
    return Fleet.load(path, catalogue().keys(), published)


def load_lock(path: Path) -> Lock:
    """Read the lock beside a fleet; an empty one where nothing was locked yet. Raises SpecErrors."""
    beside = path.with_name(LOCK_FILE)
    return (Lock.load(beside) if beside.exists() else Lock()).with_measured(load_measured(path))


def load_measured(path: Path) -> Measurements:
    """Read what was measured of the models of a fleet; nothing where nothing was. Raises SpecErrors."""
    return Measurements.load(path.with_name(MEASURED_FILE))


class _Families:
    """What the catalogue of families tells the grammar."""

    @property
    def families(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(families())

    def quantizations(self, base: str) -> dict[str, str]:
        """Where the quantisations of a model of a known family are found; nothing for any other."""
        known = None if is_file_base(base) else find_model(ModelName.parse(base))
        return {} if known is None else _named(families()[known.family].sizes[known.size])

    def sizes(self, family: str) -> dict[str, PublishedSize]:
        """The sizes of a family by their tags."""
        known = families().get(family.casefold())
        if known is None:
            return {}
        return {tag: PublishedSize(_named(size)[USUAL], _named(size)) for tag, size in known.sizes.items()}


published: Published = _Families()
"""The catalogue of families that this package brings."""


def _named(size: FamilySize) -> dict[str, str]:
    return {quantization: model.names[0] for quantization, model in size.models.items() if model.names}


def load_templates(folder: Path) -> Templates:
    """Read all templates: those in `folder` come before those of the package, name by name. Raises SpecErrors."""
    return Templates(template_texts(folder))


def template_texts(folder: Path) -> dict[str, str]:
    """Return the templates' texts by file name, found as `load_templates` does. Raises SpecErrors."""
    package = files("ollama_fleet")
    sources: dict[str, str] = {}
    for name in FOLDERS:
        for place in (package.joinpath(name), folder / name):
            sources.update({entry.name: _text_of(entry, name) for entry in _templates_in(place)})
    return sources


def _text_of(entry: Traversable | Path, folder: str) -> str:
    try:
        return entry.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SpecErrors([SpecError("", f"{reason}", None, None, f"{folder}/{entry.name}")]) from None


def _templates_in(place: Traversable | Path) -> Iterator[Traversable | Path]:
    if place.is_dir():
        yield from (entry for entry in place.iterdir() if entry.name.endswith(".j2") and entry.is_file())
