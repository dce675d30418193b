"""``env``: values as the server reads them.

Ollama takes every word that Go cannot parse as a boolean for true, so ``no`` and ``off`` switch on. Here a
boolean is a YAML boolean and becomes 1 or 0; a word in its place is refused.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ollama_fleet.spec.errors import KeyPath, Wrong, WrongParts, did_you_mean, show
from ollama_fleet.spec.secret import SecretReference, parse_reference
from ollama_fleet.spec.values import check_text, parse_duration, parse_size
from ollama_fleet.spec.variables import GONE, OWNED, VARIABLES, Kind, Variable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_BOOLEAN_WORDS = frozenset(
    [
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "t",
        "f",
        "y",
        "n",
        "1",
        "0",
        "enable",
        "disable",
        "enabled",
        "disabled",
    ]
)
_ORIGIN_SCHEMES = (
    "http://",
    "https://",
    "chrome-extension://",
    "safari-extension://",
    "moz-extension://",
    "ms-browser-extension://",
)
"""What an origin without `*` begins with; at any other the server ends with a panic when it starts."""
_DEVICE = re.compile(r"-1|[0-9]{1,3}|(GPU|MIG)-[0-9A-Za-z/-]{4,80}")


def parse_env(value: object) -> dict[str, str | SecretReference | None]:
    """The variables as the server reads them, or where their secret values are found.

    ``None`` stays, for it takes a variable back.

    Raises WrongParts with all that is wrong.
    """
    if not isinstance(value, dict):
        raise Wrong(f"expected a map of variables, got {show(value)}", "write NAME: value below env")
    rendered: dict[str, str | SecretReference | None] = {}
    wrong: list[tuple[KeyPath, Wrong]] = []
    for name, setting in value.items():
        try:
            check_variable_name(name)
            rendered[name] = None if setting is None else _reference_or_text(name, setting)
        except Wrong as problem:
            wrong.append(((name,), problem))
    if wrong:
        raise WrongParts(wrong)
    return rendered


def check_variable_name(name: str) -> None:
    """Raise Wrong for a name that cannot be one, that nobody reads, or that another key writes."""
    if not _NAME.fullmatch(name):
        raise Wrong(
            f"{show(name)} is no name of a variable", "use letters, digits and underscores", of_key=True
        )
    if name in OWNED:
        raise Wrong(f"{name} is written by the key {OWNED[name]}", f"use {OWNED[name]}", of_key=True)
    if name in GONE:
        raise Wrong(f"{name} has no effect", GONE[name], of_key=True)
    if name.upper() in VARIABLES and name not in VARIABLES and not name.upper().endswith("_PROXY"):
        raise Wrong(f"{name} is not read in small letters", f"write {name.upper()}", of_key=True)
    if name.upper().startswith("OLLAMA") and name not in VARIABLES:
        known = [*VARIABLES, *OWNED]
        raise Wrong(f"{name} is no variable that Ollama reads", did_you_mean(name, known), of_key=True)


def _reference_or_text(name: str, value: object) -> str | SecretReference:
    reference = parse_reference(value) if isinstance(value, str) else None
    if reference is None:
        return render_variable(name, value)
    variable = VARIABLES.get(name) or VARIABLES.get(name.upper())
    if variable is not None and variable.kind is not Kind.URL:
        raise Wrong(f"{name} is no secret", f"write {variable.kind.value}")
    return reference


def render_variable(name: str, value: object) -> str:
    """One value as text for the server's environment.

    Raises Wrong where the server would read something else than what stands in the file.
    """
    variable = VARIABLES.get(name) or VARIABLES.get(name.upper())
    if isinstance(value, str):
        check_text(value, most=4096)
        if _holds_password(value):
            raise Wrong(
                "a password stands in the URL",
                "this file ends up in git; write env:NAME or file:PATH",
            )
    if variable is None:
        return _render_unknown(name, value)
    return _RENDER[variable.kind](variable, value)


def _holds_password(value: str) -> bool:
    if "://" not in value:
        return False
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return False


def _render_unknown(name: str, value: object) -> str:
    if isinstance(value, bool | float):
        raise Wrong(f"how {name} wants {show(value)} written is not known here", "put the text in quotes")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    raise Wrong(f"expected text for {name}, got {show(value)}")


def _mistyped(variable: Variable, value: object) -> Wrong:
    return Wrong(f"{show(value)} is not what {variable.name} takes", f"write {variable.kind.value}")


def _boolean(variable: Variable, value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, int) and value in {0, 1}):
        return str(int(value))
    if isinstance(value, str) and value.casefold() in _BOOLEAN_WORDS:
        raise Wrong(
            f"{show(value)} is a word, and Ollama takes nearly every word for true",
            "write true or false, without quotes",
        )
    raise _mistyped(variable, value)


def _count(variable: Variable, value: object) -> str:
    if variable.name == "OLLAMA_DEBUG" and isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise _mistyped(variable, value)
    return str(value)


def _duration(variable: Variable, value: object) -> str:
    return str(parse_duration(value))


def _bytes(variable: Variable, value: object) -> str:
    return str(parse_size(value))


def _mib(variable: Variable, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return str(value)
    size = parse_size(value)
    if size % (1 << 20):
        raise Wrong(f"{show(value)} is no whole number of MiB")
    return str(size >> 20)


def _words(variable: Variable, value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _mistyped(variable, value)
    for word in value:
        if (
            not isinstance(word, str)
            or not word
            or "," in word
            or word != check_text(word, most=4096).strip()
        ):
            raise Wrong(f"{show(word)} cannot be a word of {variable.name}", "write words without commas")
    return ",".join(value)


def _origins(variable: Variable, value: object) -> str:
    words = value.split(",") if isinstance(value, str) else value
    text = _words(variable, words)
    for word in text.split(",") if text else []:
        if word.count("*") > 1 or ("*" not in word and not word.startswith(_ORIGIN_SCHEMES)):
            raise Wrong(
                f"{show(word)} is an origin at which Ollama does not start",
                "write https://NAME, http://NAME:PORT, or one * in it, such as https://*.example",
            )
    return text


def _text(variable: Variable, value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is not text", "put it in quotes")
    return value


def _url(variable: Variable, value: object) -> str:
    text = _text(variable, value)
    if not re.fullmatch(r"(https?|socks5)://[A-Za-z0-9._~:/\[\]-]+", text):
        raise Wrong(f"{show(value)} is no URL of a proxy", "write http://HOST:PORT")
    return text


def _choice(variable: Variable, value: object) -> str:
    if isinstance(value, bool) and "on" in variable.choices:
        return "on" if value else "off"
    if isinstance(value, str) and value in variable.choices:
        return value
    words = ", ".join(variable.choices)
    guess = did_you_mean(value, variable.choices) if isinstance(value, str) else None
    raise Wrong(f"{show(value)} is not what {variable.name} takes", guess or f"write one of {words}")


def _devices(variable: Variable, value: object) -> str:
    words = value if isinstance(value, list) else str(value).split(",") if value != "" else []
    if isinstance(value, bool | float) or any(isinstance(word, bool | float) for word in words):
        raise _mistyped(variable, value)
    texts = [str(word).strip() for word in words]
    for text in texts:
        if not _DEVICE.fullmatch(text):
            raise Wrong(f"{show(text)} is no device", f"write {variable.kind.value}")
    return ",".join(texts)


_RENDER = {
    Kind.BOOLEAN: _boolean,
    Kind.COUNT: _count,
    Kind.DURATION: _duration,
    Kind.BYTES: _bytes,
    Kind.MIB: _mib,
    Kind.WORDS: _words,
    Kind.ORIGINS: _origins,
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.DEVICES: _devices,
    Kind.URL: _url,
}
