"""How a Modelfile is cut into directives, exactly where Ollama cuts it.

A value runs to the end of its line. Where it begins with one double quote or three, it runs to the first line
that ends with the same. There are no escapes. A `#` begins a comment only where a directive could begin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ollama_fleet.spec.errors import did_you_mean, show

__all__ = ["COMMANDS", "MAX_CHARACTERS", "Directive", "ModelfileError", "quote", "read_directives"]

MAX_CHARACTERS = 4 << 20

COMMANDS = frozenset(
    {
        "FROM",
        "PARAMETER",
        "TEMPLATE",
        "SYSTEM",
        "ADAPTER",
        "LICENSE",
        "MESSAGE",
        "RENDERER",
        "PARSER",
        "REQUIRES",
        "DRAFT",
    }
)
_ROLES = frozenset({"system", "user", "assistant"})
_SECOND_WORD = {"PARAMETER": "name", "MESSAGE": "role"}
# Blanks, tabs and the ends of lines pass; every other character that cannot be printed is dropped by Ollama.
_KEPT_CONTROLS = {ord(char): None for char in "\t\r\n"}

_BLANKS = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"#[^\r\n]*")
_WORD = re.compile(r"[^ \t\r\n]*")
_LINE = re.compile(r"[^\r\n]*")
_INDENT = re.compile(r"[ \t]*")
# A quoted value ends where its quotes are the last thing of a line; quotes within a line belong to the text.
_CLOSED = {quotes: re.compile(quotes + r"[ \t]*(?=[\r\n]|\Z)") for quotes in ('"""', '"')}


class ModelfileError(ValueError):
    """A Modelfile that cannot be used. The message is one line, `source:line:column: what is wrong`.

    `line` and `column` count from 1; `reason` is the message without the place.
    """

    def __init__(self, source: str, line: int, column: int, reason: str) -> None:
        super().__init__(f"{source}:{line}:{column}: {reason}")
        self.source = source
        self.line = line
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Directive:
    """One instruction of the file; `key` is the name after PARAMETER or the role after MESSAGE."""

    name: str
    key: str
    value: str
    line: int
    column: int


def read_directives(text: str, source: str) -> Iterator[Directive]:
    """Cut a Modelfile into its directives; `source` is the file's name for messages.

    Raises:
        ModelfileError: where the text is none, or has a character that Ollama would drop.
    """
    reader = _Reader(text.removeprefix("\ufeff"), source)
    if len(text) > MAX_CHARACTERS:
        reader.fail(0, f"the file has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    return reader.directives()


def quote(text: str) -> str:
    """The text as the value of a directive, in the first form that reads back as exactly this text.

    Raises:
        ValueError: when none does: for a character that Ollama drops, or three quotes at the end of a line.
    """
    quoted: tuple[str, ...] = (f'"""{text}"""', f'"{text}"') if '"' in text else (f'"{text}"',)
    for candidate in (text, *quoted):
        reader = _Reader(candidate + "\n", "")
        try:
            value, end = reader.value(0)
        except _NotClosedError:
            continue
        except ModelfileError as error:
            raise ValueError(error.reason) from None
        if value == text and end == len(candidate) > 0:
            return candidate
    raise ValueError('the text cannot stand in a Modelfile: it has """ at the end of one of its lines')


class _NotClosedError(ModelfileError):
    """A quoted value without its end."""


class _Reader:
    """Cuts the text into directives; positions are indices into the text."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source

    def fail(self, position: int, reason: str, kind: type[ModelfileError] = ModelfileError) -> NoReturn:
        lines = re.split(r"\r\n|\r|\n", self.text[:position])
        raise kind(self.source, len(lines), len(lines[-1]) + 1, reason)

    def directives(self) -> Iterator[Directive]:
        position, line, line_start = 0, 1, 0
        while (start := self._end(_BLANKS, position)) < len(self.text):
            if self.text[start] == "#":
                position = self._end(_COMMENT, start)
                continue
            name, key, value_start = self._head(start)
            value, position = self.value(value_start)
            # Counted on from the directive before, so that a long file is not counted again for each.
            breaks = [found.end() for found in re.finditer(r"\r\n|\r|\n", self.text[line_start:start])]
            if breaks:
                line, line_start = line + len(breaks), line_start + breaks[-1]
            yield Directive(name, key, value, line, start - line_start + 1)

    def _head(self, start: int) -> tuple[str, str, int]:
        """The command, its parameter or role, and where its value begins."""
        end = self._end(_WORD, start)
        self._check_printable(start, end)
        word = self.text[start:end]
        name = word.upper() if word.isascii() else word
        if name not in COMMANDS:
            known = ", ".join(sorted(COMMANDS))
            hint = did_you_mean(name, COMMANDS) or f"a line begins with one of {known}"
            self.fail(start, f"unknown command {show(word)}; {hint}")
        self._check_blank(end, f"{name} has no value")
        if name not in _SECOND_WORD:
            return name, "", end + 1
        start = end + 1
        end = self._end(_WORD, start)
        self._check_printable(start, end)
        key = self.text[start:end]
        if not key:
            self.fail(start, f"exactly one blank must stand between {name} and its {_SECOND_WORD[name]}")
        if name == "MESSAGE" and key not in _ROLES:
            self.fail(start, f"the role of a MESSAGE is system, user or assistant, not {show(key)}")
        self._check_blank(end, f"{name} {key[:60]} has no value")
        return name, key, end + 1

    def value(self, start: int) -> tuple[str, int]:
        """The value that begins at `start` or after blanks there, and the position after it."""
        first = self._end(_INDENT, start)
        quotes = next((quotes for quotes in _CLOSED if self.text.startswith(quotes, first)), None)
        if quotes is None:
            end = self._end(_LINE, first)
            value = self.text[first:end].rstrip(" \t")
        else:
            closing = _CLOSED[quotes].search(self.text, first + len(quotes))
            if closing is None:
                reason = f"the text begun here with {quotes} is never closed at the end of a line"
                self.fail(first, reason, _NotClosedError)
            end = closing.end()
            value = self.text[first + len(quotes) : closing.start()]
        self._check_printable(first, end)
        return value, end

    def _end(self, pattern: re.Pattern[str], position: int) -> int:
        found = pattern.match(self.text, position)
        assert found is not None  # all patterns match the empty text
        return found.end()

    def _check_blank(self, position: int, reason: str) -> None:
        if self.text[position : position + 1] not in {" ", "\t"}:
            self.fail(position, reason)

    def _check_printable(self, start: int, end: int) -> None:
        if self.text[start:end].translate(_KEPT_CONTROLS).isprintable():
            return
        position = next(
            index
            for index in range(start, end)
            if not self.text[index].translate(_KEPT_CONTROLS).isprintable()
        )
        char = self.text[position]
        name = unicodedata.name(char, "a control character")
        self.fail(
            position, f"Ollama would drop the character U+{ord(char):04X} ({name}) without a word; remove it"
        )
