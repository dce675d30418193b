"""Jinja templates rendered to text: what is written onto hosts, and Modelfiles.

Pure: the templates' text comes in as a mapping from file name to text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import jinja2

from ollama_fleet.artifacts import modelfile
from ollama_fleet.planner.windows.quoting import literal


class RenderError(Exception):
    """A template that is missing, broken, or uses what is not there; one line with file and line."""


def unit_word(text: str) -> str:
    """Quote one word for a systemd unit: nothing in it is a specifier, an escape or a variable."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def unit_path(path: str) -> str:
    """Write a path where systemd takes the rest of the line, spaces and all, but still reads specifiers."""
    return path.replace("%", "%%")


def environment_value(text: str) -> str:
    """Quote a value in a file for EnvironmentFile=; inside double quotes only these four mean something."""
    return '"' + re.sub(r'([\\"`$])', r"\\\1", text) + '"'


def modelfile_value(value: object) -> str:
    """Write a value of a Modelfile so that it reads back as it is. Raises ValueError where none can."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return modelfile.quote(str(value))


def combine(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two maps; the second wins."""
    return {**first, **second}


def pairs(parameters: Mapping[str, object]) -> list[tuple[str, object]]:
    """One pair per PARAMETER line: a list, such as `stop`, gives one line for each of its values."""
    found: list[tuple[str, object]] = []
    for name, value in parameters.items():
        values: Iterable[object] = value if isinstance(value, (list, tuple)) else (value,)
        found += [(name, single) for single in values]
    return found


class Templates:
    """A set of templates by file name, such as `ollama.service.j2`."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._names = frozenset(sources)
        self._environment = jinja2.Environment(
            loader=jinja2.DictLoader(dict(sources)),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - nothing here is HTML; each place has its own quoting
        )
        self._environment.filters.update(
            unit_word=unit_word,
            unit_path=unit_path,
            environment_value=environment_value,
            shell_word=shlex.quote,
            powershell=literal,
            value=modelfile_value,
            combine=combine,
            pairs=pairs,
        )
        self._template = lru_cache(maxsize=None)(self._environment.get_template)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def names(self) -> frozenset[str]:
        """All file names."""
        return self._names

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Render one template. Raises RenderError."""
        try:
            return self._template(name).render(values)
        except jinja2.TemplateSyntaxError as error:
            raise RenderError(f"{error.name or name}:{error.lineno}: {error.message}") from error
        except jinja2.TemplateNotFound as error:
            raise RenderError(f"there is no template {error.name!r}") from error
        except (
            jinja2.TemplateError,
            ValueError,
            TypeError,
            ArithmeticError,
            LookupError,
            AttributeError,
        ) as error:
            raise RenderError(f"{name}: {_line(error)}{str(error) or type(error).__name__}") from error


def _line(error: BaseException) -> str:
    """Jinja rewrites tracebacks so that the template's own line is in them."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if re.search(r"<template>|\.j2$", trace.tb_frame.f_code.co_filename):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""
