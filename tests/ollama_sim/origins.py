"""Which web pages may call the API: the `Origin` header against OLLAMA_ORIGINS."""

from __future__ import annotations

import re
from collections.abc import Sequence

METHODS = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"


_SCHEMES = (
    *("http://", "https://", "chrome-extension://", "safari-extension://"),
    *("moz-extension://", "ms-browser-extension://"),
)


class BadOriginError(Exception):
    """An origin that no server starts with."""


def check(origins: Sequence[str]) -> None:
    """Raises BadOriginError for what the server would panic at."""
    for origin in () if "*" in origins else origins:
        if origin.count("*") > 1:
            raise BadOriginError("only one * is allowed")
        if "*" not in origin and not origin.startswith(_SCHEMES):
            raise BadOriginError(f"bad origin: origins must contain '*' or include {','.join(_SCHEMES)}")


def allowed(origin: str, origins: Sequence[str]) -> bool:
    """Whether a page from `origin` may call."""
    if "*" in origins:
        return True
    return any(re.fullmatch(".*".join(map(re.escape, known.split("*"))), origin) for known in origins)


def headers(origin: str, origins: Sequence[str]) -> dict[str, str]:
    """What an answer to an allowed page carries."""
    return (
        {"Access-Control-Allow-Origin": "*"}
        if "*" in origins
        else {
            "Access-Control-Allow-Origin": origin,
            "Vary": "Origin",
        }
    )
