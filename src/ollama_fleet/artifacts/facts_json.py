"""Facts as plain data and back: flat frozen dataclasses of numbers, texts, truth values and each other."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import JsonValue

from ollama_fleet.spec.errors import show

__all__ = ["FactsError", "Json", "decode", "encode"]

Json = JsonValue
T = TypeVar("T")

_MAX_NUMBER = (1 << 63) - 1
_MAX_TEXT = 200
_MAX_ITEMS = 4096


class FactsError(ValueError):
    """Plain data that are not facts; one line that names the key (`reason`) and what to do."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}; run `ollama-fleet lock` to read the facts anew")


def encode(record: Any) -> dict[str, Json]:
    """The fields of a dataclass that do not have their default, in the order they are declared."""
    found: dict[str, Json] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value == field.default:
            continue
        if isinstance(value, tuple):
            found[field.name] = [encode(item) for item in value]
        else:
            found[field.name] = encode(value) if dataclasses.is_dataclass(value) else value
    return found


def decode(kind: type[T], data: object, version: int) -> T:
    """A dataclass of plain data, where `version` stands beside the fields.

    Raises:
        FactsError: for another version, an unknown key, a missing one, or a value of another kind.
    """
    if not isinstance(data, Mapping):
        raise FactsError(f"facts should be a map, not {show(data)}")
    if type(data.get("version")) is not int or data["version"] != version:
        raise FactsError(f"facts have version {show(data.get('version'))}, not {version}")
    return _record(kind, {key: value for key, value in data.items() if key != "version"}, "facts")


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: type[T], data: object, path: str) -> T:
    if not isinstance(data, Mapping):
        raise FactsError(f"{path} should be a map, not {show(data)}")
    hints = _hints(cast("Any", kind))
    fields = dataclasses.fields(cast("Any", kind))
    for key in data:
        if key not in hints or not any(field.name == key for field in fields):
            raise FactsError(f"{path}: unknown key {show(key)}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in data:
            raise FactsError(f"{path}.{field.name} is missing")
    return kind(**{key: _value(hints[key], value, f"{path}.{key}") for key, value in data.items()})


def _value(hint: Any, value: object, path: str) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise FactsError(f"{path} should be true or false, not {show(value)}")
        return value
    if hint is int:
        if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
            raise FactsError(f"{path} should be a number from 0 to 2^63 - 1, not {show(value)}")
        return value
    if hint is str:
        if not isinstance(value, str) or len(value) > _MAX_TEXT or not (value.isprintable()):
            raise FactsError(f"{path} should be a short text, not {show(value)}")
        return value
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise FactsError(f"{path} should be one of {', '.join(get_args(hint))}, not {show(value)}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) > _MAX_ITEMS:
            raise FactsError(f"{path} should be a list of at most {_MAX_ITEMS} items, not {show(value)}")
        return tuple(_record(get_args(hint)[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if isinstance(hint, types.UnionType):
        return None if value is None else _record(get_args(hint)[0], value, path)
    raise AssertionError(f"facts cannot hold {hint}")
