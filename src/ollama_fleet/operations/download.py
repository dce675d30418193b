"""Archives that the controller fetches, once for all hosts, and keeps."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from ollama_fleet.artifacts.http_client import import_httpx
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.planner.items.release import Archive

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte."""
_FETCHING = threading.Lock()
"""Several hosts want the same archive at the same moment; the first fetches it."""


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/ollama-fleet`, by default `~/.cache/ollama-fleet`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ollama-fleet"


def archive_path(archive: Archive) -> Path:
    """Where the archive lies on the controller once `fetch` has seen to it."""
    if archive.location.startswith(("http://", "https://")):
        return cache_directory() / f"{archive.sha256[:16]}-{archive.name}"
    return Path(archive.location.removeprefix("file://"))


def fetch(archive: Archive) -> Path:
    """Return the path of the archive with the right bytes, downloading it if need be.

    Raises:
        StepFailed: it cannot be had, or has other bytes than locked.
    """
    with _FETCHING:
        path = archive_path(archive)
        if path.is_file() and _sha256(path) == archive.sha256:
            return path
        if path.parent != cache_directory():
            what = (
                "does not have the locked sha256" if path.is_file() else "is not there; its sha256 would be"
            )
            raise StepFailed(f"{path} {what} {archive.sha256}; nothing was installed")
        _fetch_to(path, archive)
        return path


def _fetch_to(path: Path, archive: Archive) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _download(archive.location, beside)
        if (actual := _sha256(beside)) != archive.sha256:
            raise StepFailed(
                f"{archive.location} has sha256 {actual}, locked is {archive.sha256}; nothing was installed. "
                "Was the release changed?"
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _download(url: str, target: Path) -> None:
    httpx = import_httpx()
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as response,
            target.open("wb") as file,
        ):
            if response.is_error:
                raise StepFailed(f"could not fetch {url}: {response.status_code} {response.reason_phrase}")
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
    except (httpx.HTTPError, OSError) as error:
        raise StepFailed(f"could not fetch {url}: {error or type(error).__name__}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
