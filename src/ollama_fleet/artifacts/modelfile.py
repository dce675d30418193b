"""Modelfiles: reading them as `ollama create` does, and making the request for `/api/create`.

The grammar is Ollama's. Where Ollama would drop or overrule something without a word (characters that cannot
be printed, the first of two SYSTEM texts, deprecated parameters), the file is refused and the place named.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ollama_fleet.artifacts.parameters import KINDS, ParameterValue, parameter_value
from ollama_fleet.spec.errors import did_you_mean, show

__all__ = ["Directive", "Message", "Modelfile", "ModelfileError", "parse_modelfile", "quote"]

MAX_MODELFILE_CHARACTERS = 4 << 20

_SINGLE = frozenset({"FROM", "TEMPLATE", "SYSTEM", "RENDERER", "PARSER", "REQUIRES", "DRAFT"})
# These may stand more than once and add up; of all others Ollama silently takes the last.
_REPEATABLE = frozenset({"LICENSE", "MESSAGE", "ADAPTER"})
_COMMANDS = _SINGLE | _REPEATABLE | {"PARAMETER"}
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
_SEMVER = re.compile(
    r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)(\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)?)?",
    re.ASCII,
)


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
class Message:
    """One turn of the conversation a model starts with."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Directive:
    """One instruction of the file; `key` is the name after PARAMETER or the role after MESSAGE."""

    name: str
    key: str
    value: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Modelfile:
    """A parsed Modelfile. Parameters have the types that `ollama create` would send."""

    from_: str
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    licenses: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    adapters: tuple[str, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    directives: tuple[Directive, ...] = ()

    def line_of(self, name: str, key: str = "") -> int | None:
        """The line of the first such directive, as in `line_of("PARAMETER", "num_ctx")`, or None."""
        return next((found.line for found in self.directives if (found.name, found.key) == (name, key)), None)

    def create_request(
        self, model: str, from_name: str, adapters: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON body for `POST /api/create`.

        Args:
            model: the name to create.
            from_name: the base, which must be a model on the server (not the path FROM may hold).
            adapters: file name to digest of each adapter, already uploaded; needed where there is an ADAPTER.

        Raises:
            ValueError: when the Modelfile has adapters and their digests are not given.
        """
        if len(adapters or {}) != len(self.adapters):
            raise ValueError(f"the Modelfile names {len(self.adapters)} adapters; give the digest of each")
        request: dict[str, Any] = {"model": model, "from": from_name}
        if adapters:
            request["adapters"] = dict(adapters)
        optional: dict[str, object] = {
            "template": self.template,
            "system": self.system,
            "license": list(self.licenses),
            "parameters": dict(self.parameters),
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            "renderer": self.renderer,
            "parser": self.parser,
            "requires": self.requires,
        }
        request.update({key: value for key, value in optional.items() if value})
        return request


def parse_modelfile(text: str, *, source: str) -> Modelfile:
    """Read a Modelfile; `source` is the file's name for messages.

    Raises:
        ModelfileError: with the place and the reason, for the first thing that is wrong.
    """
    reader = _Reader(text.removeprefix("\ufeff"), source)
    if len(text) > MAX_MODELFILE_CHARACTERS:
        reader.fail(0, f"the file has {len(text)} characters; at most {MAX_MODELFILE_CHARACTERS} are read")
    directives = tuple(reader.directives())
    return _Builder(source, directives).build()


def quote(text: str) -> str:
    """The text as the value of a directive, in whichever form reads back as exactly this text.

    Raises:
        ValueError: when no form does: a character Ollama drops, or three quotes at the end of a line of the
            text.
    """
    for candidate in (text, f'"{text}"', f'"""{text}"""'):
        reader = _Reader(candidate + "\nX", "")
        try:
            value, end = reader.value(0)
        except ModelfileError as error:
            if not error.reason.startswith("the text begun"):
                raise ValueError(error.reason) from None
            continue
        if value == text and end == len(candidate) and value:
            return candidate
    raise ValueError('the text cannot be written in a Modelfile: it has """ at the end of one of its lines')


class _Reader:
    """Cuts the text into directives; positions are indices into the text."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source

    def fail(self, position: int, reason: str) -> NoReturn:
        before = self.text[:position]
        lines = re.split(r"\r\n|\r|\n", before)
        raise ModelfileError(self.source, len(lines), len(lines[-1]) + 1, reason)

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
        name = word.upper()
        if name not in _COMMANDS:
            known = ", ".join(sorted(_COMMANDS))
            hint = did_you_mean(name, _COMMANDS) or f"a line begins with one of {known}"
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
                self.fail(first, f"the text begun here with {quotes} is never closed at the end of a line")
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


class _Builder:
    """Gives the directives their meaning and checks them one by one."""

    def __init__(self, source: str, directives: tuple[Directive, ...]) -> None:
        self.source = source
        self.directives = directives
        self.parameters: dict[str, ParameterValue] = {}

    def build(self) -> Modelfile:
        single: dict[str, str] = {}
        seen: dict[tuple[str, str], int] = {}
        for found in self.directives:
            self._check_single(found, seen)
            if found.name == "PARAMETER":
                self._parameter(found)
            elif found.name in _SINGLE:
                single[found.name] = self._single(found)
        if "FROM" not in single:
            raise ModelfileError(self.source, 1, 1, "there is no FROM line; it names the base of the model")
        return Modelfile(
            from_=single["FROM"],
            parameters=self.parameters,
            template=single.get("TEMPLATE"),
            system=single.get("SYSTEM"),
            licenses=self._values("LICENSE"),
            messages=tuple(
                Message(found.key, found.value) for found in self.directives if found.name == "MESSAGE"
            ),
            adapters=self._values("ADAPTER"),
            renderer=single.get("RENDERER"),
            parser=single.get("PARSER"),
            requires=single.get("REQUIRES"),
            directives=self.directives,
        )

    def _fail(self, found: Directive, reason: str) -> NoReturn:
        raise ModelfileError(self.source, found.line, found.column, reason)

    def _values(self, name: str) -> tuple[str, ...]:
        return tuple(found.value for found in self.directives if found.name == name)

    def _check_single(self, found: Directive, seen: dict[tuple[str, str], int]) -> None:
        if found.name in _REPEATABLE or KINDS.get(found.key) is tuple:
            return
        first = seen.setdefault((found.name, found.key), found.line)
        if first != found.line:
            what = f"{found.name} {found.key}".strip()
            self._fail(found, f"{what} stands already in line {first}; Ollama would heed only one of them")

    def _parameter(self, found: Directive) -> None:
        try:
            value = parameter_value(found.key, found.value)
        except ValueError as error:
            self._fail(found, str(error))
        if KINDS[found.key] is tuple:
            items = self.parameters.setdefault(found.key, [])
            assert isinstance(items, list)
            items.append(str(value))
        else:
            self.parameters[found.key] = value

    def _single(self, found: Directive) -> str:
        if not found.value:
            consequence = "; Ollama would keep the base's" if found.name in {"SYSTEM", "TEMPLATE"} else ""
            self._fail(found, f"{found.name} is empty{consequence}; leave the line out")
        if found.name == "DRAFT":
            self._fail(found, "DRAFT is not supported: a draft model cannot be given by name")
        if found.name == "REQUIRES":
            if not _SEMVER.fullmatch(found.value):
                self._fail(found, f"REQUIRES must be a version such as 0.14.0, not {show(found.value)}")
            return found.value.removeprefix("v")
        return found.value
