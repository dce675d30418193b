"""A YAML file as plain data that knows the line and column of each key and value.

The reading is that of YAML 1.2's core schema, with two differences meant for people: a word or number that
readers of YAML 1.1 take for something else (``yes``, ``on``, ``010``) is refused, not guessed, and a key that
is given twice is an error. Merge keys (``<<``) and aliases work; what they expand to is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ollama_fleet.spec.errors import KeyPath, Position, SpecError, SpecErrors, key_path, show
from ollama_fleet.spec.plain_scalars import read_plain
from ollama_fleet.spec.yaml_nodes import MAX_DEPTH, PLAIN, TAG, compose

MAX_BYTES = 1 << 20
"""Largest file that is read: 1 MiB, some ten thousand hosts."""
MAX_VALUES = 200_000
"""Most values that a file may hold once its aliases are expanded."""
Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]

_BESIDE = "\0beside"  # a key that no map holds


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its data, where each key and value stands, and mistakes that did not stop the reading."""

    file: str
    data: Data
    values: Mapping[KeyPath, Position] = field(repr=False)
    keys: Mapping[KeyPath, Position] = field(repr=False)
    problems: tuple[tuple[KeyPath, SpecError], ...] = ()
    """Each with the path of the data that it spoils."""

    def position(self, path: KeyPath, *, key: bool = False) -> Position | None:
        """Where a value (or its key) stands; for what is not in the file, where its nearest parent stands."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
            if (
                path in self.keys
            ):  # something is missing below a key: its line says more than the value's start
                return self.keys[path]
        return self.values.get(path)

    def error(self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> SpecError:
        """A mistake at a place of this file."""
        return SpecError(key_path(path), message, hint, self.position(path, key=key), self.file)


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises SpecErrors where it cannot be read as YAML at all; milder mistakes are in ``Document.problems``.
    """
    file = str(path)
    try:
        with path.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise SpecErrors([SpecError("", reason, _file_hint(error), None, file)]) from None
    return parse_document(content, file)


def _file_hint(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "name another file, or write one with `ollama-fleet init`"
    return "a file was expected" if isinstance(error, IsADirectoryError) else None


def parse_document(content: bytes, file: str = "fleet.yaml") -> Document:
    """Read the bytes of a YAML file; raises as ``load_document``."""
    if len(content) > MAX_BYTES:
        raise SpecErrors([SpecError("", f"larger than {MAX_BYTES >> 20} MiB", None, None, file)])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        position = Position(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        hint = "save the file as UTF-8"
        raise SpecErrors([SpecError("", "not UTF-8 text", hint, position, file)]) from None
    try:
        root = compose(text)
    except yaml.YAMLError as error:
        raise SpecErrors([_syntax_error(error, text, file)]) from None
    except RecursionError:  # a flow collection nested in one token run, before depth is counted
        raise SpecErrors([SpecError("", "nested too deeply", None, None, file)]) from None
    return _Builder(file).document(root)


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> SpecError:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        position = Position(before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        code = ord(error.character) if isinstance(error.character, str) else error.character
        return SpecError("", f"the character U+{code:04X} cannot stand in YAML", None, position, file)
    if not isinstance(error, yaml.MarkedYAMLError):
        return SpecError("", "not valid YAML", None, None, file)
    mark = error.problem_mark or error.context_mark
    where = Position(mark.line + 1, mark.column + 1) if mark is not None else None
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return SpecError("", "a tab cannot indent YAML", "use spaces", where, file)
    if "expected a single document" in (error.context or ""):
        return SpecError("", "more than one document", "keep one fleet per file, without `---`", where, file)
    problem = " ".join(_readable(problem).split())
    return SpecError("", f"not valid YAML: {problem}", None, where, file)


def _readable(problem: str) -> str:
    return "".join(char if char.isprintable() else " " for char in problem)


class _Builder:
    """Turns nodes into data; keeps positions; collects what is wrong without stopping."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[KeyPath, Position] = {}
        self.keys: dict[KeyPath, Position] = {}
        self.problems: list[tuple[KeyPath, SpecError]] = []
        self._open: set[int] = set()
        self._count = 0

    def document(self, root: yaml.Node | None) -> Document:
        data: Data = None if root is None else self._build(root, ())
        return Document(self.file, data, self.values, self.keys, tuple(self.problems))

    def _build(self, node: yaml.Node, path: KeyPath) -> Data:
        self._count += 1
        position = _start(node)
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise SpecErrors([SpecError("", "its aliases expand to too much", None, position, self.file)])
        if id(node) in self._open:
            raise SpecErrors([SpecError(key_path(path), "contains itself", None, position, self.file)])
        self.values[path] = position
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self._expect_tag(node, "seq", path)
                return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
            self._expect_tag(node, "map", path)
            return self._map(node, path)
        finally:
            self._open.discard(id(node))

    def _expect_tag(self, node: yaml.Node, kind: str, path: KeyPath) -> None:
        if node.tag != TAG + kind:
            self._problem(path, _start(node), f"the tag {_tag(node)} means nothing here", "remove it")

    def _map(self, node: yaml.Node, path: KeyPath) -> dict[str, Data]:
        own: dict[str, yaml.Node] = {}
        positions: dict[str, Position] = {}
        merged: list[tuple[str, yaml.Node, Position]] = []
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == PLAIN and key_node.value == "<<":
                merged.extend(self._merge(value_node, path, depth=0))
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in own:
                first = positions[key]
                message = f"given twice; the first is in line {first.line}"
                self._problem((*path, key), _start(key_node), message, None, beside=True)
                continue
            own[key], positions[key] = value_node, _start(key_node)
        for key, value_node, position in merged:
            if key not in own:  # what a map says itself wins; of several merged maps the first
                own[key], positions[key] = value_node, position
        for key, position in positions.items():
            self.keys[(*path, key)] = position
        return {key: self._build(value, (*path, key)) for key, value in own.items()}

    def _merge(
        self, node: yaml.Node, path: KeyPath, depth: int, *, listed: bool = False
    ) -> list[tuple[str, yaml.Node, Position]]:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise SpecErrors([SpecError("", "its aliases expand to too much", None, _start(node), self.file)])
        found: list[tuple[str, yaml.Node, Position]] = []
        if isinstance(node, yaml.SequenceNode) and not listed:
            for item in node.value:
                found.extend(self._merge(item, path, depth + 1, listed=True))
            return found
        if not isinstance(node, yaml.MappingNode):
            self._problem((*path, "<<"), _start(node), "`<<` merges maps only", None)
            return found
        later: list[tuple[str, yaml.Node, Position]] = []
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == PLAIN and key_node.value == "<<":
                later.extend(self._merge(value_node, path, depth + 1))
            elif (key := self._key(key_node, path)) is not None:
                self._count += 1
                found.append((key, value_node, _start(key_node)))
        first: dict[str, tuple[str, yaml.Node, Position]] = {}
        for entry in found + later:
            first.setdefault(entry[0], entry)
        return list(first.values())

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._problem(path, _start(node), "a key must be a word", None, beside=True)
            return None
        if node.tag == PLAIN:
            value, doubt = read_plain(node.value)
            if doubt or not isinstance(value, str):
                message = f"the key {show(node.value)} is not read as a word"
                self._problem(path, _start(node), message, "put it in quotes", beside=True)
                return None
        elif node.tag != TAG + "str":
            self._problem(path, _start(node), f"the tag {_tag(node)} means nothing here", "remove it")
            return None
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Data:
        if node.tag == PLAIN:
            value, doubt = read_plain(node.value)
            if doubt:
                self._problem(path, _start(node), *doubt)
            return value
        if node.tag != TAG + "str":
            self._problem(path, _start(node), f"the tag {_tag(node)} means nothing here", "remove it")
        return str(node.value)

    def _problem(
        self, path: KeyPath, position: Position, message: str, hint: str | None, *, beside: bool = False
    ) -> None:
        """Note a mistake; one ``beside`` the data at a path does not stop that data from being looked at."""
        place = (*path, _BESIDE) if beside else path
        self.problems.append((place, SpecError(key_path(path), message, hint, position, self.file)))


def _tag(node: yaml.Node) -> str:
    return show(node.tag.replace(TAG, "!!", 1))


def _start(node: yaml.Node) -> Position:
    mark = node.start_mark
    return Position(mark.line + 1, mark.column + 1)
