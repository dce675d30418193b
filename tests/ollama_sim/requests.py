"""Request bodies: read like Go reads them into a struct, with its complaints."""

from __future__ import annotations

import json
from typing import Any

from ollama_sim import gojson, gotime

_STR, _BOOL, _INT, _MAP, _LIST, _ANY, _KEEP = "string", "bool", "int", "map", "list", "any", "Duration"

_COMMON_RUN = {"model": _STR, "stream": _BOOL, "options": _MAP, "keep_alive": _KEEP, "think": _ANY}
FIELDS: dict[str, dict[str, str]] = {
    "PullRequest": {"model": _STR, "name": _STR, "insecure": _BOOL, "stream": _BOOL},
    "CreateRequest": {
        **dict.fromkeys(
            ["model", "name", "from", "template", "system", "renderer", "parser", "requires"], _STR
        ),
        **dict.fromkeys(["quantize", "quantization", "remote_host", "draft_quantize"], _STR),
        **dict.fromkeys(("files", "adapters", "draft_files", "parameters", "info"), _MAP),
        "license": _ANY,
        "messages": _LIST,
        "stream": _BOOL,
    },
    "DeleteRequest": {"model": _STR, "name": _STR},
    "CopyRequest": {"source": _STR, "destination": _STR},
    "ShowRequest": {"model": _STR, "name": _STR, "system": _STR, "verbose": _BOOL, "options": _MAP},
    "GenerateRequest": {
        **_COMMON_RUN,
        **dict.fromkeys(("prompt", "suffix", "system", "template"), _STR),
        "raw": _BOOL,
        "context": _LIST,
    },
    "ChatRequest": {**_COMMON_RUN, "messages": _LIST, "tools": _LIST},
    "EmbedRequest": {
        "model": _STR,
        "input": _ANY,
        "truncate": _BOOL,
        "options": _MAP,
        "keep_alive": _KEEP,
        "dimensions": _INT,
    },
    "EmbeddingRequest": {"model": _STR, "prompt": _STR, "options": _MAP, "keep_alive": _KEEP},
}
_FITS: dict[str, type | tuple[type, ...]] = {
    _STR: str,
    _BOOL: bool,
    _INT: (int, float),
    _MAP: dict,
    _LIST: list,
}
_GO_TYPES = {_BOOL: "bool", _INT: "int", _STR: "string", _MAP: "map[string]interface {}", _LIST: "[]"}


class BodyError(ValueError):
    """The body cannot be used; the text is what the API answers with status 400."""


def read(kind: str, body: bytes) -> dict[str, Any]:
    """Decode a body into the fields of `kind`; names match in any letter case. Raises BodyError."""
    if not body.strip():
        raise BodyError("missing request body")
    try:
        document = gojson.decode(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BodyError(_syntax(body, error)) from error
    if not isinstance(document, dict):
        raise BodyError(f"json: cannot unmarshal {_json_kind(document)} into Go value of type api.{kind}")
    fields = FIELDS[kind]
    known = {name.lower(): name for name in fields}
    values: dict[str, Any] = {}
    for key, value in document.items():
        name = known.get(key.lower())
        if name is None or value is None:
            continue
        values[name] = _field(kind, name, fields[name], value)
    return values


def _field(kind: str, name: str, wanted: str, value: Any) -> Any:
    if wanted == _KEEP:
        return keep_alive(value)
    if wanted == _ANY:
        return value
    if not isinstance(value, _FITS[wanted]) or (wanted == _INT and isinstance(value, bool)):
        go_type = _GO_TYPES[wanted]
        raise BodyError(
            f"json: cannot unmarshal {_json_kind(value)} into Go struct field {kind}.{name} of type {go_type}"
        )
    return value


def keep_alive(value: Any) -> int:
    """A keep_alive in nanoseconds: a number is seconds, negative is for ever. Raises BodyError."""
    if isinstance(value, bool):
        raise BodyError("Unsupported type: 'bool'")
    if isinstance(value, int | float):
        return gotime.FOREVER if value < 0 else int(value * gotime.SECOND)
    if isinstance(value, str):
        try:
            duration = gotime.parse_duration(value)
        except ValueError as error:
            raise BodyError(str(error)) from error
        return gotime.FOREVER if duration < 0 else duration
    raise BodyError(f"Unsupported type: '{_json_kind(value)}'")


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "null"


def _syntax(body: bytes, error: json.JSONDecodeError | UnicodeDecodeError) -> str:
    position = error.pos if isinstance(error, json.JSONDecodeError) else error.start
    text = body.decode("utf-8", "replace")
    if position >= len(text.rstrip()):
        return "unexpected EOF"
    return f"invalid character '{text[position]}' looking for beginning of value"
