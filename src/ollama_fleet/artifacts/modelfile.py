"""Modelfiles: reading them as `ollama create` does, and making the request for `/api/create`.

The grammar is Ollama's. Where Ollama would drop or overrule something without a word (characters that cannot
be printed, the first of two SYSTEM texts, deprecated parameters), the file is refused and the place named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ollama_fleet.artifacts.modelfile_syntax import Directive, ModelfileError, quote, read_directives
from ollama_fleet.artifacts.parameters import KINDS, ParameterValue, parameter_value
from ollama_fleet.spec.errors import show

__all__ = ["Directive", "Message", "Modelfile", "ModelfileError", "parse_modelfile", "quote"]

# These may stand more than once and add up; of all others Ollama silently takes one.
_REPEATABLE = frozenset({"LICENSE", "MESSAGE"})
_SEMVER = re.compile(
    r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)(\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation a model starts with."""

    role: str
    content: str


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
        if bool(adapters) != bool(self.adapters):
            raise ValueError("digests must be given of the files of the ADAPTER, and only where there is one")
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
    return _Builder(source, tuple(read_directives(text, source))).build()


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
            elif found.name not in _REPEATABLE:
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
