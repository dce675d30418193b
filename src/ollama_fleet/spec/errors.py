"""What is wrong with a fleet file: one line per mistake, all mistakes at once.

Exception
├── SpecErrors      a fleet file (or a placement asked of it) with one or more SpecError in it
└── ValueError
    └── Wrong       one value, told by the function that reads it; the loader adds where it stands
        └── WrongParts  several values inside one map or list
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""Where a value stands: map keys and list indexes from the root of the file."""

SHOWN_LENGTH = 60
"""Characters of a user's value that a message repeats."""

_BARE_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-@")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class SpecError:
    """One mistake. ``str()`` is one line: ``fleet.yaml:12:5: hosts.a.gpus[0]: what is wrong; what to do``."""

    path: str
    message: str
    hint: str | None = None
    position: Position | None = None
    file: str = "fleet.yaml"

    def __str__(self) -> str:
        where = self.file
        if self.position is not None:
            where += f":{self.position.line}:{self.position.column}"
        parts = [where, self.path, self.message] if self.path else [where, self.message]
        line = ": ".join(parts)
        return f"{line}; {self.hint}" if self.hint else line

    def as_json(self) -> dict[str, str | int | None]:
        """The mistake for programs; ``None`` where there is no line, column or hint."""
        return {
            "file": self.file,
            "line": self.position.line if self.position else None,
            "column": self.position.column if self.position else None,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


class SpecErrors(Exception):
    """All mistakes found in one fleet file, in the order of the file."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        unique = dict.fromkeys(errors)
        self.errors: tuple[SpecError, ...] = tuple(
            sorted(unique, key=lambda error: (error.position or Position(0, 0), error.path, error.message))
        )
        super().__init__("\n".join(str(error) for error in self.errors))

    def as_json(self) -> list[dict[str, str | int | None]]:
        """The mistakes for programs, as ``validate --json`` prints them."""
        return [error.as_json() for error in self.errors]


class Wrong(ValueError):
    """A value that cannot be used, told without its place; ``of_key`` where its key is what is wrong."""

    def __init__(self, message: str, hint: str | None = None, *, of_key: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.of_key = of_key


class WrongParts(Wrong):
    """Several wrong values inside one, each with its path below that one."""

    def __init__(self, parts: Sequence[tuple[KeyPath, Wrong]]) -> None:
        super().__init__("; ".join(wrong.message for _, wrong in parts))
        self.parts = tuple(parts)


def show(value: object) -> str:
    """A user's value for a message: quoted, on one line, without control characters, not long."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    if not isinstance(value, str):
        return str(value)
    shortened = value if len(value) <= SHOWN_LENGTH else value[: SHOWN_LENGTH - 1] + "…"
    quoted = json.dumps(shortened, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted)


def key_path(path: KeyPath) -> str:
    """A path as people read it: ``hosts.gpu-01.gpus[0]``; unusual keys as in ``models["llama3.1"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and _BARE_KEY.issuperset(part) and len(part) <= SHOWN_LENGTH:
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that the word was most likely meant to be, if one is near enough."""
    if len(word) > 100:
        return None
    folded = {candidate.casefold(): candidate for candidate in candidates}
    wanted = word.casefold()
    if wanted in folded:
        return folded[wanted]
    matches = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The hint ``did you mean "…"?``, or ``None`` where no candidate is near."""
    found = nearest(word, candidates)
    return f"did you mean {show(found)}?" if found is not None else None


def counted(names: Sequence[str], most: int = 4) -> str:
    """Names for a message, ``a, b, c, d and 3 more``."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
