"""The text of a lock: plain YAML without aliases, read with positions, written the same way every time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from ollama_fleet.spec.errors import KeyPath, Position, SpecError, SpecErrors, key_path, show

__all__ = ["Positions", "dump", "load"]

MAX_BYTES = 64 << 20
_MAX_DEPTH = 40

Positions = dict[KeyPath, Position]

# libyaml is ten times as fast, which counts: the lock is read at the start of every command.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_resolve: Any = yaml.resolver.Resolver().resolve
_constructor = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"


class _Dumper(_SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True

    def text(self, data: str) -> Any:
        # Only in double quotes does a text with newlines stay on one line.
        return self.represent_scalar(_TAG + "str", data, style='"' if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.text)


def dump(data: object) -> str:
    """The YAML of plain data: keys sorted, no aliases, no folded lines, all scripts as they are."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=1 << 20
    )
    return text


def load(content: bytes, file: str) -> tuple[Any, Positions]:
    """Plain data of a YAML text, and where each value stands (one in a map stands where its key does).

    Raises:
        SpecErrors: with file and line, for what is no YAML, too large, too deep, or has aliases or a key
            twice.
    """
    if len(content) > MAX_BYTES:
        raise _error(file, (), f"larger than {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(file, (), "not UTF-8 text", Position(line, 1)) from None
    try:
        # Events, not nodes: composing nodes recurses in C, which a file of brackets can make crash.
        return _Builder(file, yaml.parse(text, Loader=_Loader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(mark.line + 1, mark.column + 1) if mark else None
        raise _error(file, (), f"not valid YAML: {error.problem or 'cannot be read'}", where) from None
    except yaml.YAMLError as error:
        raise _error(file, (), f"not valid YAML: {' '.join(str(error).split())}") from None


class _Builder:
    """Makes plain data of a stream of events."""

    def __init__(self, file: str, events: Iterator[yaml.Event]) -> None:
        self.file = file
        self.events = events
        self.positions: Positions = {}

    def document(self) -> tuple[Any, Positions]:
        data: Any = None
        found = False
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise self._wrong(event, (), "more than one document")
                found = True
                data = self._value(next(self.events), ())
        return data, self.positions

    def _value(self, event: yaml.Event, path: KeyPath) -> Any:
        self.positions.setdefault(path, _position(event))
        if len(path) > _MAX_DEPTH:
            raise self._wrong(event, path, "nested too deeply")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._wrong(event, path, "anchors and aliases have no place in a lock")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if getattr(event, "tag", None):
            raise self._wrong(event, path, "tags have no place in a lock")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                items.append(self._value(item, (*path, len(items))))
            return items
        return self._map(path)

    def _map(self, path: KeyPath) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise self._wrong(event, path, "a key must be a word")
            if key in entries:
                raise self._wrong(event, (*path, key), "given twice")
            self.positions[(*path, key)] = _position(event)
            entries[key] = self._value(next(self.events), (*path, key))
        return entries

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Any:
        if event.tag is not None:
            raise self._wrong(event, path, "tags have no place in a lock")
        if not event.implicit[0]:  # quoted, or a block
            return event.value
        resolved: str = _resolve(yaml.ScalarNode, event.value, event.implicit)
        tag = resolved.removeprefix(_TAG)
        node = yaml.ScalarNode(_TAG + tag, event.value)
        try:
            match tag:
                case "str":
                    return event.value
                case "null":
                    return None
                case "bool":
                    return _constructor.construct_yaml_bool(node)
                case "int":
                    return _constructor.construct_yaml_int(node)
                case "float":
                    return _constructor.construct_yaml_float(node)
        except ValueError:
            pass
        raise self._wrong(event, path, f"{show(event.value)} is neither text nor number; put it in quotes")

    def _wrong(self, event: yaml.Event, path: KeyPath, message: str) -> SpecErrors:
        return _error(self.file, path, message, _position(event))


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _error(file: str, path: KeyPath, message: str, where: Position | None = None) -> SpecErrors:
    return SpecErrors([SpecError(key_path(path), message, None, where, file)])
