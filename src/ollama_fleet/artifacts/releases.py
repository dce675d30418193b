"""Ollama's releases: versions, the names of their archives, and the file with their hashes."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass

from ollama_fleet.spec.errors import show

__all__ = [
    "CHECKSUMS",
    "TARGETS",
    "UPSTREAM",
    "EngineEra",
    "ReleaseError",
    "Version",
    "archive_name",
    "parse_checksums",
    "upstream_url",
]

UPSTREAM = "https://github.com/ollama/ollama/releases/download"
CHECKSUMS = "sha256sum.txt"
MAX_CHECKSUMS_BYTES = 1 << 20

_VERSION = re.compile("v?{n}[.]{n}[.]{n}(?:-rc{n})?".format(n="(0|[1-9][0-9]{0,5})"))
_CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([A-Za-z0-9][A-Za-z0-9._+-]*)")


class ReleaseError(ValueError):
    """A version, an archive or a file of checksums that cannot be; the message is one line."""


class EngineEra(enum.StrEnum):
    """How a release decides what goes onto the GPU."""

    ESTIMATE = "estimate"  # up to 0.11.10: estimates memory, then hands a number of layers to the runner
    LAYOUT = "layout"  # 0.11.11 to 0.24: measures memory and lays tensors out itself
    LLAMA_SERVER = "llama-server"  # from 0.30: a llama-server process fits the layers


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version of Ollama; `rc` is the number of a release candidate, None for the release itself."""

    major: int
    minor: int
    patch: int
    rc: int | None = None

    @classmethod
    def parse(cls, text: object) -> Version:
        """Read `0.32.15`, `v0.32.15` or `0.33.0-rc2`.

        Raises:
            ReleaseError: for anything else; versions reach paths and URLs, so nothing is let through.
        """
        found = _VERSION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ReleaseError(f"{show(text)} is no version of Ollama (such as 0.32.15 or 0.33.0-rc2)")
        major, minor, patch, rc = found.groups()
        return cls(int(major), int(minor), int(patch), None if rc is None else int(rc))

    @property
    def era(self) -> EngineEra:
        """The engine's generation; a release candidate has that of its release."""
        if self.numbers >= (0, 30, 0):
            return EngineEra.LLAMA_SERVER
        return EngineEra.LAYOUT if self.numbers >= (0, 11, 11) else EngineEra.ESTIMATE

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor, patch."""
        return self.major, self.minor, self.patch

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + ("" if self.rc is None else f"-rc{self.rc}")

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[int, int, int, bool, int]:
        return (*self.numbers, self.rc is None, self.rc or 0)


_OLDEST = Version(0, 3, 7)  # the first with archives for Linux that hold the whole installation
_ZSTD_SINCE = (0, 14, 0)

# Target to the first release that has it. Archives with a suffix hold libraries to unpack over the plain one.
TARGETS: dict[str, tuple[int, int, int]] = {
    "linux-amd64": (0, 3, 7),
    "linux-amd64-rocm": (0, 3, 7),
    "linux-amd64-mlx": (0, 23, 1),
    "linux-arm64": (0, 3, 7),
    "linux-arm64-jetpack5": (0, 4, 3),
    "linux-arm64-jetpack6": (0, 4, 3),
    "windows-amd64": (0, 3, 7),
    "windows-amd64-rocm": (0, 5, 8),
    "windows-amd64-mlx": (0, 23, 1),
    "windows-arm64": (0, 4, 0),
    "windows-setup": (0, 3, 7),
    "darwin": (0, 5, 8),
}


def archive_name(version: Version, target: str) -> str:
    """The file's name: `ollama-linux-amd64.tar.zst` for `linux-amd64`, `.tgz` up to 0.13.5.

    Raises:
        ReleaseError: when there is no such target, or this version has no archive for it.
    """
    since = TARGETS.get(target)
    if since is None:
        known = ", ".join(sorted(TARGETS))
        raise ReleaseError(f"{show(target)} is no kind of archive; known are {known}")
    if version.numbers < max(since, _OLDEST.numbers):
        first = ".".join(map(str, since))
        raise ReleaseError(f"{version} has no archive for {target}; {first} is the first that has")
    if target == "windows-setup":
        return "OllamaSetup.exe"
    if target.startswith("windows-"):
        return f"ollama-{target}.zip"
    if target == "darwin":
        return "ollama-darwin.tgz"
    return f"ollama-{target}.{'tar.zst' if version.numbers >= _ZSTD_SINCE else 'tgz'}"


def upstream_url(version: Version, name: str) -> str:
    """Where upstream publishes a file of a release."""
    return f"{UPSTREAM}/v{version}/{name}"


def parse_checksums(text: str, source: str) -> dict[str, str]:
    """The content of `sha256sum.txt`: file name to 64 lower-case hexadecimal digits.

    Raises:
        ReleaseError: with source and line, for a line that is no checksum or contradicts another.
    """
    if len(text) > MAX_CHECKSUMS_BYTES:
        raise ReleaseError(f"{source}: too large for a list of checksums")
    result: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = _CHECKSUM_LINE.fullmatch(line.rstrip())
        if found is None:
            raise ReleaseError(f"{source}:{number}: this is no line of sha256sum: {line[:60]!r}")
        digits, name = found.group(1).lower(), found.group(2)
        if result.setdefault(name, digits) != digits:
            raise ReleaseError(f"{source}:{number}: a second, different hash for {name}")
    return result
