"""The ladders: settings laid over each other, later wins, and each value keeps the place that gave it.

Maps merge by key, lists and single values replace, and ``null`` takes back what stood below, to the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ollama_fleet.spec.errors import KeyPath, key_path
from ollama_fleet.spec.model import Section
from ollama_fleet.spec.yaml_source import Document


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a file that gave a value: its line and column (from 1) and the path of its key there."""

    file: str
    line: int
    column: int
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place of the file says: the settings written there, and the path of that place."""

    path: KeyPath
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Merged:
    """Settings after the ladder; ``sources`` leads from the path of each leaf to its path in the file."""

    settings: Mapping[str, object]
    sources: Mapping[KeyPath, KeyPath] = field(default_factory=dict)

    def origins(self, document: Document) -> Mapping[str, Origin]:
        """The origin of each leaf, by its path as text: ``env.OLLAMA_KEEP_ALIVE``."""
        return Origins(document, self.sources)


class Origins(Mapping[str, Origin]):
    """The origin of each value, worked out when it is asked for: of most values of a large fleet nobody asks."""

    def __init__(self, document: Document, sources: Mapping[KeyPath, KeyPath]) -> None:
        self._document = document
        self._sources = sources

    @cached_property
    def _by_text(self) -> dict[str, KeyPath]:
        return {key_path(path): source for path, source in self._sources.items()}

    def __getitem__(self, key: str) -> Origin:
        return origin_of(self._document, self._by_text[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_text)

    def __len__(self) -> int:
        return len(self._sources)


def origin_of(document: Document, path: KeyPath) -> Origin:
    """Where the value at a path of the file stands."""
    position = document.position(path)
    line, column = (position.line, position.column) if position else (1, 1)
    return Origin(document.file, line, column, key_path(path))


def written(section: Section, leave_out: Iterable[str] = ()) -> dict[str, object]:
    """The keys that stand in the file, ``null`` among them; what the file does not mention is not in it."""
    skipped = set(leave_out)
    return {
        info.alias or name: _plain(getattr(section, name))
        for name, info in type(section).model_fields.items()
        if name in section.model_fields_set and name not in skipped
    }


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return written(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def merge(layers: Sequence[Layer]) -> Merged:
    """Lay layers over each other, the first lowest."""
    settings: dict[str, object] = {}
    sources: dict[KeyPath, KeyPath] = {}
    for layer in layers:
        _lay(settings, layer.settings, (), layer.path, sources)
    return Merged(settings, sources)


def _lay(
    below: dict[str, object],
    above: Mapping[str, object],
    path: KeyPath,
    source: KeyPath,
    sources: dict[KeyPath, KeyPath],
) -> None:
    for key, value in above.items():
        here, there = (*path, key), (*source, key)
        if isinstance(value, Mapping):
            lower = below.get(key)
            if not isinstance(lower, dict):
                _forget(here, sources)
                lower = below[key] = {}
            _lay(lower, value, here, there, sources)
            continue
        below.pop(key, None)
        _forget(here, sources)
        if value is not None:
            below[key] = value
            sources[here] = there


def _forget(path: KeyPath, sources: dict[KeyPath, KeyPath]) -> None:
    for known in [known for known in sources if known[: len(path)] == path]:
        del sources[known]


def leaves(settings: Mapping[str, object], path: KeyPath = ()) -> dict[KeyPath, object]:
    """Every value that is not a map, ``null`` among them, by its path."""
    found: dict[KeyPath, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found.update(leaves(value, (*path, key)))
        else:
            found[(*path, key)] = value
    return found


def nested(flat: Mapping[KeyPath, object]) -> dict[str, object]:
    """The inverse of ``leaves``."""
    settings: dict[str, object] = {}
    for path, value in flat.items():
        level: dict[str, object] = settings
        for step in path[:-1]:
            level = level.setdefault(str(step), {})  # type: ignore[assignment]
        level[str(path[-1])] = value
    return settings
