"""What the front door lets through: an allow-list of methods and paths; everything else stays outside.

A request is compared by its exact method and its exact path: by Caddy decoded once, as Ollama itself decodes it, by
nginx as it was sent. Nothing is cleaned or guessed before: `//`, `..` and letters of another case lead nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

READ = ("GET", "HEAD")
ASK = ("POST",)

METHOD, PATH, ROLE = "{http.request.method}", "{http.request.uri.path}", "{fleet.role}"
LENGTH = "{http.request.header.Content-Length}"
"""Placeholders of Caddy's; the last is set from the token."""


@dataclass(frozen=True, slots=True)
class Route:
    """Some methods on a path, or on every path of a pattern (RE2, without its ends)."""

    methods: tuple[str, ...]
    path: str
    pattern: bool = False


_MODEL = "[A-Za-z0-9][A-Za-z0-9._:-]*"
_DIGEST = "sha256[:-][0-9a-f]{64}"

CLIENT = (
    Route(READ, "/"),
    Route(READ, "/api/version"),
    Route(READ, "/api/tags"),
    Route(READ, "/api/ps"),
    Route(READ, "/v1/models"),
    Route(READ, f"/v1/models/{_MODEL}", pattern=True),
    Route(ASK, "/api/show"),
    Route(ASK, "/api/generate"),
    Route(ASK, "/api/chat"),
    Route(ASK, "/api/embed"),
    Route(ASK, "/api/embeddings"),
    Route(ASK, "/v1/chat/completions"),
    Route(ASK, "/v1/completions"),
    Route(ASK, "/v1/embeddings"),
    Route(ASK, "/v1/responses"),
    Route(ASK, "/v1/messages"),
)
"""For every client: using models, and seeing which there are."""

ADMIN = (
    Route(ASK, "/api/pull"),
    Route(ASK, "/api/push"),
    Route(ASK, "/api/create"),
    Route(ASK, "/api/copy"),
    Route(("DELETE",), "/api/delete"),
)
"""What changes models."""

BLOBS = (Route(("HEAD", "POST"), f"/api/blobs/{_DIGEST}", pattern=True),)
"""An administrator's uploads, which may be as large as models are."""


def expression(routes: Sequence[Route], roles: Sequence[str], prefix: str = "") -> str:
    """Return a condition in Caddy's expression language (CEL), on one line.

    Args:
        routes: one of them has to fit.
        roles: the token has to be of one of these.
        prefix: what stands before each path.
    """
    return f"{ROLE} in {json.dumps(list(roles))} && ({' || '.join(_alternatives(routes, prefix))})"


def line_pattern(routes: Sequence[Route], roles: str, prefix: str = "") -> str:
    """Return a pattern (PCRE) that fits a line `ROLE METHOD PATH`, the path as it was sent.

    Args:
        routes: one of them has to fit.
        roles: what the role has to be, `|` between them.
        prefix: what stands before each path.
    """
    lines = (
        f"(?:{'|'.join(route.methods)}) {re.escape(prefix)}{route.path if route.pattern else re.escape(route.path)}"
        for route in routes
    )
    return f"^(?:{roles}) (?:{'|'.join(lines)})\\z"


def too_large(most: int, prefixes: Iterable[str]) -> str:
    """Return a condition for requests that announce more than `most` bytes, but for an administrator's uploads."""
    uploads = " || ".join(f"({expression(BLOBS, ('admin',), prefix)})" for prefix in prefixes)
    return f'{LENGTH}.matches("^[0-9]{{1,18}}$") && int({LENGTH}) > {most} && !({uploads})'


def _alternatives(routes: Iterable[Route], prefix: str) -> Iterator[str]:
    plain: dict[tuple[str, ...], list[str]] = {}
    for route in routes:
        if route.pattern:
            whole = json.dumps(f"^{_escaped(prefix)}{route.path}$")
            yield f"({METHOD} in {json.dumps(route.methods)} && {PATH}.matches({whole}))"
        else:
            plain.setdefault(route.methods, []).append(prefix + route.path)
    for methods, paths in plain.items():
        yield f"({METHOD} in {json.dumps(methods)} && {PATH} in {json.dumps(paths)})"


def _escaped(prefix: str) -> str:
    """A prefix is made of the letters of a name; of these only the dot means something in a pattern."""
    return prefix.replace(".", "[.]")
