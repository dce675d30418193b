"""Modelfiles as the command line reads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ollama_sim.options import KINDS
from ollama_sim.store import sha256_file

_COMMANDS = (
    *("from", "license", "template", "system", "adapter", "draft", "renderer", "parser"),
    *("parameter", "message", "requires"),
)
_WORD = re.compile(r"[ \t\r\n]*(#[^\r\n]*|[A-Za-z]+)")
_DEPRECATED = (
    *("penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock"),
    *("mirostat", "mirostat_tau", "mirostat_eta"),
)


class ModelfileError(ValueError):
    """The Modelfile cannot be used; the text is for the terminal."""


def parse(text: str) -> list[tuple[str, str]]:
    """Directives with their values; a parameter's name is its directive. Raises ModelfileError."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        if text[position] in " \t\r\n":
            position += 1
            continue
        word = _WORD.match(text, position)
        if word and word[1].startswith("#"):
            position = word.end()
            continue
        line = text.count("\n", 0, position) + 1
        if not word or word[1].lower() not in _COMMANDS:
            listed = ", ".join(f'"{name}"' for name in _COMMANDS[:-1])
            raise ModelfileError(f'(line {line}): command must be one of {listed}, or "requires"')
        name, position = word[1].lower(), word.end()
        if name in ("parameter", "message"):
            inner = re.compile(r"[ \t]+([A-Za-z0-9_]+)[ \t]").match(text, position)
            if not inner:
                raise ModelfileError("unexpected EOF")
            if name == "message" and inner[1] not in ("system", "user", "assistant"):
                roles = '"system", "user", or "assistant"'
                raise ModelfileError(f"(line {line}): message role must be one of {roles}")
            prefix = f"{inner[1]}: " if name == "message" else ""
            name = name if name == "message" else inner[1]
            position = inner.end()
        else:
            prefix = ""
        value, position = _value(text, position)
        found.append((name, prefix + value))
    if not any(name == "from" for name, _ in found):
        raise ModelfileError("no FROM line")
    return found


def _value(text: str, position: int) -> tuple[str, int]:
    while position < len(text) and text[position] in " \t":
        position += 1
    for mark in ('"""', '"'):
        if text.startswith(mark, position):
            start = position + len(mark)
            closing = re.compile(re.escape(mark) + r"[ \t]*(?=[\r\n]|$)").search(text, start)
            if not closing:
                raise ModelfileError("unexpected EOF")
            return text[start : closing.start()], closing.end()
    end = re.compile(r"[\r\n]|$").search(text, position)
    assert end
    return text[position : end.start()].strip(), end.start()


def request(directives: list[tuple[str, str]], folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The body of a create request, and the files to upload first by digest. Raises ModelfileError."""
    body: dict[str, Any] = {}
    uploads: dict[str, Path] = {}
    parameters: dict[str, Any] = {}
    for name, value in directives:
        match name:
            case "from" | "adapter":
                path = folder / Path(value).expanduser()
                if path.is_file():
                    digest = sha256_file(path)
                    uploads[digest] = path
                    body.setdefault("files" if name == "from" else "adapters", {})[path.name] = digest
                elif name == "from":
                    body["from"] = value
                else:
                    raise ModelfileError(f"stat {path}: no such file or directory")
            case "license":
                body.setdefault("license", []).append(value)
            case "message":
                role, _, content = value.partition(": ")
                body.setdefault("messages", []).append({"role": role, "content": content})
            case "template" | "system" | "renderer" | "parser" | "requires":
                body[name] = value.removeprefix("v") if name == "requires" else value
            case "draft":
                raise ModelfileError("DRAFT requires --experimental")
            case _ if name in _DEPRECATED:
                print(f"warning: parameter {name} is deprecated")
            case "stop":
                parameters.setdefault("stop", []).append(value)
            case _:
                parameters[name] = _typed(name, value)
    if parameters:
        body["parameters"] = parameters
    return body, uploads


def _typed(name: str, value: str) -> Any:
    kind = KINDS.get(name)
    if kind is None:
        raise ModelfileError(f"unknown parameter '{name}'")
    readers: dict[str, tuple[str, Callable[[str], Any]]] = {
        "integer": ("int", int),
        "float32": ("float", float),
        "boolean": (
            "bool",
            {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}.__getitem__,
        ),
    }
    word, reader = readers[kind]
    try:
        return reader(value.lower() if kind == "boolean" else value)
    except (ValueError, KeyError) as error:
        raise ModelfileError(f"invalid {word} value [{value}]") from error
