"""Scalar values of a fleet file: durations, sizes, versions, paths, texts, URLs.

Each reader raises Wrong for a bad value.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

from ollama_fleet.spec.errors import Wrong, show

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_SECONDS = 2**63 / 1e9
_SIZE = re.compile(r"([0-9]+)(\.[0-9]+)? ?(B|KiB|MiB|GiB|TiB)")
_SIZE_ELSEWHERE = re.compile(r"[0-9.]+ ?([kKmMgGtT])[bB]?")
_UNIT_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_VERSION = re.compile(
    r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})(-rc(0|[1-9][0-9]{0,2}))?"
)

OLDEST_RELEASE = (0, 9, 0)
"""The first release whose environment, archive and API are the ones described here."""

LONGEST_PATH = 1024

_NEVER_A_MODELS_DIRECTORY = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib32",
        "/lib64",
        "/media",
        "/mnt",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/srv",
        "/sys",
        "/tmp",  # noqa: S108 - refused here, not used
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/local",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/share",
        "/var",
        "/var/lib",
        "/var/log",
        "/var/run",
        "/var/tmp",  # noqa: S108
    ]
)
_GOOD_PARENTS = frozenset({"/home", "/media", "/mnt", "/opt", "/srv", "/var/lib"})
_NEVER_BELOW = ("/boot/", "/dev/", "/etc/", "/proc/", "/sys/")


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in Go's notation; below zero means for ever, as Ollama reads keep-alives."""

    text: str
    seconds: float

    def __str__(self) -> str:
        return self.text


def parse_duration(value: object) -> Duration:
    """``24h``, ``1h30m``, ``-1`` or a number of seconds, as Ollama reads them."""
    hint = "write 30s, 5m, 24h, a number of seconds, or -1 for ever"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Wrong(f"{show(value)} is no duration", hint)
    if isinstance(value, int) or re.fullmatch(r"-?[0-9]{1,12}", value):
        seconds = float(value)
    else:
        sign, rest = (-1.0, value[1:]) if value.startswith("-") else (1.0, value.removeprefix("+"))
        parts = _DURATION_PART.findall(rest) if len(rest) <= 60 else []
        if not parts or "".join(number + unit for number, unit in parts) != rest:
            raise Wrong(f"{show(value)} is no duration", hint)
        seconds = sign * sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if abs(seconds) >= _LONGEST_SECONDS:
        raise Wrong(f"{show(value)} is longer than 292 years", "write -1 for ever")
    return Duration(str(value), seconds)


def parse_size(value: object) -> int:
    """``24GiB`` as bytes; a bare number is bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    if isinstance(value, str):
        if (found := _SIZE.fullmatch(value)) and len(value) <= 30:
            size = int(float(found[1] + (found[2] or "")) * _UNIT_BYTES[found[3]])
            if size < 2**63:
                return size
        if found := _SIZE_ELSEWHERE.fullmatch(value):
            unit = f"{found[1].upper()}iB"
            raise Wrong(f"{show(value)} is no size", f"write the unit as {unit}")
    raise Wrong(f"{show(value)} is no size", "write bytes as a number, or 512MiB, 24GiB")


@dataclass(frozen=True, slots=True, order=True)
class ReleaseVersion:
    """An Ollama version; a release candidate sorts before its release."""

    major: int
    minor: int
    patch: int
    final: bool = True
    candidate: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return text if self.final else f"{text}-rc{self.candidate}"

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor, patch: what ``since`` and ``until`` are compared with."""
        return self.major, self.minor, self.patch


def parse_release_version(value: object) -> ReleaseVersion:
    """``0.32.15`` or ``0.33.0-rc2``: pinned, without a leading v."""
    if value == "latest":
        raise Wrong(
            '"latest" is not a version', "pin one, such as 0.32.15, so that a run tomorrow equals a run today"
        )
    if isinstance(value, str):
        if found := _VERSION.fullmatch(value):
            version = ReleaseVersion(
                int(found[1]), int(found[2]), int(found[3]), found[4] is None, int(found[5] or 0)
            )
            if version.numbers < OLDEST_RELEASE:
                raise Wrong(f"{show(value)} is older than 0.9.0", "older releases are not known here")
            return version
        if _VERSION.fullmatch(value[1:]) and value[0] in "vV":
            raise Wrong(f"{show(value)} is no version", f"leave out the {value[0]}: {value[1:]}")
    raise Wrong(f"{show(value)} is no version", "write three numbers, such as 0.32.15 or 0.33.0-rc2")


def check_text(value: object, *, lines: bool = False, most: int = 1 << 16) -> str:
    """Text without control characters; with ``lines``, newlines and tabs may stand in it."""
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is not text", "put it in quotes")
    if len(value) > most:
        raise Wrong(f"longer than {most} characters")
    allowed = "\n\t" if lines else ""
    for char in value:
        if char not in allowed and unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}:
            raise Wrong(f"the character U+{ord(char):04X} cannot stand here", "remove it")
    return value


def check_path(value: object) -> str:
    """A path without control characters, without ``..`` and of a length that systems take."""
    text = check_text(value)
    if not text:
        raise Wrong("the path is empty")
    if len(text.encode()) > LONGEST_PATH or any(len(part.encode()) > 255 for part in text.split("/")):
        raise Wrong("the path is too long")
    if any(unicodedata.category(char) == "Cf" for char in text):
        raise Wrong("an invisible character stands in the path", "remove it")
    if ".." in text.split("/"):
        raise Wrong(f'{show(text)} holds ".."', "write the path it leads to")
    if text != text.strip():
        raise Wrong(f"{show(text)} begins or ends with a space", "remove it")
    return text


def parse_models_dir(value: object) -> str:
    """An absolute POSIX directory for models, in canonical form."""
    text = check_path(value)
    if not text.startswith("/"):
        raise Wrong(f"{show(text)} is not absolute", "begin the path with /")
    path = "/" + "/".join(part for part in text.split("/") if part not in {"", "."})
    if path in _NEVER_A_MODELS_DIRECTORY or path.startswith(_NEVER_BELOW):
        parent = path if path in _GOOD_PARENTS else "/srv"
        message = f"{show(path)} belongs to the system, and models need a directory of their own"
        raise Wrong(message, f"write {parent}/ollama/models")
    return path


def parse_controller_path(value: object) -> str:
    """A file on the machine that runs the deploy: absolute, below ``~/``, or relative to the fleet file."""
    text = check_path(value)
    if text.startswith("~") and not text.startswith("~/"):
        raise Wrong(f"{show(text)} names somebody else's home", "write ~/… or an absolute path")
    if text.startswith("-"):
        raise Wrong(f"{show(text)} begins with -", "write ./ before it")
    return text


def parse_url(value: object, schemes: tuple[str, ...]) -> str:
    """A URL of one of the schemes, without user, query or fragment and without a slash at its end."""
    text = check_text(value, most=LONGEST_PATH)
    try:
        parts = urlsplit(text)
        port_known = parts.port is None or parts.port > 0
    except ValueError:
        raise Wrong(f"{show(text)} is no URL") from None
    if parts.scheme not in schemes:
        raise Wrong(
            f"{show(text)} is no URL", f"begin it with {' or '.join(f'{name}://' for name in schemes)}"
        )
    if parts.username is not None or parts.password is not None:
        raise Wrong(
            "a user or password stands in the URL", "what is in this file ends up in git; take it out"
        )
    if (
        not re.fullmatch(r"[A-Za-z0-9.:/_~%+,=@\[\]-]+", text)
        or not port_known
        or parts.query
        or parts.fragment
    ):
        raise Wrong(f"{show(text)} holds what a URL of files cannot", "write scheme, host and path only")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise Wrong(f"{show(text)} names no local directory", "write file:///absolute/path")
        check_path(parts.path)
    elif not parts.hostname:
        raise Wrong(f"{show(text)} names no host")
    return text.rstrip("/") if parts.path.rstrip("/") or parts.scheme != "file" else text
