"""Values of the PowerShell stand-in, as far as they behave unlike Python's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class NotModelledError(Exception):
    """The stand-in does not know this; a test must fail on it, whatever the script does about errors."""


class ThrownError(Exception):
    """A terminating error of PowerShell: the script may catch it."""


class Exited(BaseException):
    """`exit N`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class PsEnum:
    """A .NET enumeration: a word where text is wanted, but a number in JSON."""

    def __init__(self, word: str, number: int) -> None:
        self.word, self.number = word, number

    def __str__(self) -> str:
        return self.word


class PsObject:
    """An object with properties, whose names know no case; `methods` are callables."""

    def __init__(self, kind: str, properties: dict[str, Any], methods: dict[str, Any] | None = None) -> None:
        self.kind = kind
        self.properties = properties
        self.methods = {name.lower(): method for name, method in (methods or {}).items()}

    def find(self, name: str) -> str | None:
        return next((key for key in self.properties if key.lower() == name.lower()), None)

    def get(self, name: str) -> Any:
        key = self.find(name)
        return None if key is None else self.properties[key]

    def set(self, name: str, value: Any) -> None:
        self.properties[self.find(name) or name] = value

    def __str__(self) -> str:
        return f"@{{{self.kind}}}"


class PsHash(PsObject):
    """`@{…}`: passed through a pipeline whole, members by key."""

    def __init__(self, properties: dict[str, Any] | None = None) -> None:
        super().__init__("hashtable", properties or {})


def each(value: Any) -> Iterator[Any]:
    """What a pipeline makes of a value: lists are taken apart, nothing is nothing."""
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def collapse(values: list[Any]) -> Any:
    """What an assignment makes of a pipeline's output."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values


def text(value: Any) -> str:
    """`[string]$value`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, list):
        return " ".join(map(text, value))
    if isinstance(value, (str, int, float, PsEnum)):
        return str(value)
    raise NotModelledError(f"the text of a {type(value).__name__}")


def truth(value: Any) -> bool:
    """What `if` makes of a value."""
    if isinstance(value, list):
        return truth(value[0]) if len(value) == 1 else bool(value)
    if isinstance(value, (PsObject, PsEnum, bytes)):
        return True
    return bool(value)


def plain(value: Any) -> Any:
    """What ConvertTo-Json of 5.1 makes of a value."""
    if isinstance(value, PsEnum):
        return value.number
    if isinstance(value, PsObject):
        return {key: plain(item) for key, item in value.properties.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise NotModelledError(f"JSON of a {type(value).__name__}")
