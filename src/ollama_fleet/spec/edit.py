"""Changing values in the text of a fleet file: nothing else of it moves, no comment, no order, no quote.

The text is cut where the parser says that a value stands, not written anew. What comes out is read again, and must be
the old data with just these values changed; else the text is left as it is, and it is said why.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Mapping, Sequence

import yaml

from ollama_fleet.spec.errors import KeyPath, SpecErrors, key_path
from ollama_fleet.spec.yaml_source import Data, parse_document

Value = int | str
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BLOCK_STYLES = ("|", ">")


class CannotEdit(ValueError):
    """A text cannot be changed at this place; one line that says why."""


def edited(text: str, changes: Mapping[KeyPath, Value]) -> str:
    """Return the text with values set at paths, each made with the maps that lead to it where they are missing.

    Raises:
        CannotEdit: a path leads through a list or a shared part (`&`, `*`, `<<`), or the text is no fleet file.
    """
    before = _data(text)
    wanted = copy.deepcopy(before)
    for path, value in changes.items():
        _put(wanted, path, value)
        text = _with_value(text, path, value)
    if _data(text) != wanted:
        places = ", ".join(key_path(path) for path in changes)
        raise CannotEdit(f"{places} cannot be changed without touching something else")
    return text


def patch(before: str, after: str, name: str) -> str:
    """The change as a unified diff, for `git apply`; empty where there is none."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _data(text: str) -> Data:
    try:
        return parse_document(text.encode("utf-8", "surrogatepass")).data
    except SpecErrors as error:
        raise CannotEdit(str(error.errors[0])) from None


def _put(data: Data, path: KeyPath, value: Value) -> None:
    for place, key in enumerate(path):
        if not isinstance(data, dict):
            raise CannotEdit(f"{key_path(path[:place])} is no map")
        if place == len(path) - 1:
            data[str(key)] = value
        elif data.get(str(key)) is None:
            data[str(key)] = {}
        data = data[str(key)]


def _with_value(text: str, path: KeyPath, value: Value) -> str:
    shared = _shared(text)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        raise CannotEdit("the file is empty")
    key_node: yaml.Node | None = None
    for place, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            return _in_place_of_nothing(text, key_node, node, path, place, value)
        if node.start_mark.index in shared:
            raise CannotEdit(f"{key_path(path[:place])} is shared by several places (`&`)")
        entry = next((pair for pair in node.value if pair[0].value == key), None)
        if entry is None:
            return _inserted(text, node, path[place:], value)
        key_node, node = entry
        if node.start_mark.index < key_node.start_mark.index:
            raise CannotEdit(f"{key_path(path[: place + 1])} is an alias (`*`)")
    if not isinstance(node, yaml.ScalarNode) or key_node is None:
        raise CannotEdit(f"{key_path(path)} is no single value")
    if node.start_mark.index in shared:
        raise CannotEdit(f"{key_path(path)} is shared by several places (`&`)")
    if node.start_mark.index == node.end_mark.index:
        after = _after_colon(text, key_node)
        return f"{text[:after]} {_shown(value)}{text[after:]}"
    return text[: node.start_mark.index] + _shown(value) + text[node.end_mark.index :]


def _shared(text: str) -> set[int]:
    """Where the nodes begin that have an anchor: what stands there may count elsewhere too."""
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    anchored = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)
    marks = (event.start_mark for event in events if isinstance(event, anchored) and event.anchor)
    starts = {mark.index for mark in marks if mark is not None}
    # A node's own mark comes after its anchor.
    return starts | {_past_anchor(text, start) for start in starts}


def _past_anchor(text: str, start: int) -> int:
    found = re.compile(r"&\S+\s*").match(text, start)
    return found.end() if found else start


def _in_place_of_nothing(
    text: str, key_node: yaml.Node | None, node: yaml.Node, path: KeyPath, place: int, value: Value
) -> str:
    """Give a key that has no value yet (`per_gpu:`, `per_gpu: null`) the rest of the path."""
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":null") or key_node is None:
        raise CannotEdit(f"{key_path(path[:place])} is no map")
    content = _flow(path[place:], value, quoted=False)
    if node.start_mark.index == node.end_mark.index:
        after = _after_colon(text, key_node)
        return f"{text[:after]} {content}{text[after:]}"
    return text[: node.start_mark.index] + content + text[node.end_mark.index :]


def _inserted(text: str, node: yaml.MappingNode, rest: KeyPath, value: Value) -> str:
    """Add an entry to a map, after its last."""
    quoted = any(isinstance(key, yaml.ScalarNode) and key.style == '"' for key, _ in node.value)
    if node.flow_style:
        entry = _flow(rest, value, quoted=quoted)[1:-1]
        if not node.value:
            opening = node.start_mark.index + 1
            return text[:opening] + entry + text[opening:].lstrip(" ")
        last = _end(node)
        return f"{text[:last]}, {entry}{text[last:]}"
    indent = " " * node.start_mark.column
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [indent + line for line in _block(rest, value, quoted=quoted)]
    end = text.find("\n", _end(node))
    if end < 0:
        return text + newline + newline.join(lines)
    return text[: end + 1] + "".join(line + newline for line in lines) + text[end + 1 :]


def _end(node: yaml.Node) -> int:
    """Where the last thing of a node ends: before comments and blank lines that follow it."""
    if isinstance(node, yaml.ScalarNode):
        return node.end_mark.index
    if isinstance(node, yaml.MappingNode) and node.value:
        key, value = node.value[-1]
        empty = value.start_mark.index == value.end_mark.index
        if node.flow_style:
            return key.end_mark.index if empty else _flow_end(value)
        return key.end_mark.index if empty or value.start_mark.index < key.start_mark.index else _end(value)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _flow_end(value: yaml.Node) -> int:
    return int(value.end_mark.index)


def _after_colon(text: str, key_node: yaml.Node) -> int:
    return text.index(":", key_node.end_mark.index) + 1


def _block(rest: KeyPath, value: Value, *, quoted: bool) -> list[str]:
    """Lines of nested maps; the innermost is written in braces, as people write overrides."""
    if len(rest) <= 1:
        return [f"{_key(rest[0], quoted=quoted)}: {_shown(value)}"]
    if len(rest) == 2:
        return [f"{_key(rest[0], quoted=quoted)}: {_flow(rest[1:], value, quoted=quoted)}"]
    return [
        f"{_key(rest[0], quoted=quoted)}:",
        *(f"  {line}" for line in _block(rest[1:], value, quoted=quoted)),
    ]


def _flow(rest: Sequence[object], value: Value, *, quoted: bool) -> str:
    inner = _shown(value) if len(rest) == 1 else _flow(rest[1:], value, quoted=quoted)
    return f"{{{_key(rest[0], quoted=quoted)}: {inner}}}"


def _key(key: object, *, quoted: bool) -> str:
    text = str(key)
    plain = _PLAIN.fullmatch(text) and not quoted and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _shown(value: Value) -> str:
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
