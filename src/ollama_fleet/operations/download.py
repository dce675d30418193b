"""Archives that the controller fetches, once for all hosts, and keeps."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from pyinfra.api.host import Host

from ollama_fleet.artifacts.http_client import import_httpx
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.observer import observer_of
from ollama_fleet.planner.items.release import Archive

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte."""
Told = Callable[[int, int], None]
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


def fetch_for(at: Host, archive: Archive) -> None:
    """Fetch an archive that a host is going to be sent, and tell those who watch the host. Raises StepFailed."""
    observer = observer_of(at)

    def tell(done: int, size: int) -> None:
        observer.transfer(at, archive.name, "fetching", archive.sha256, done, size)

    fetch(archive, tell)
    observer.complete(at, archive.name)


def fetch(archive: Archive, told: Told = lambda done, size: None) -> Path:
    """Return the path of the archive with the right bytes, downloading it if need be.

    Args:
        archive: what to fetch.
        told: is told the bytes that are there and those of all.

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
        _fetch_to(path, archive, told)
        return path


def _fetch_to(path: Path, archive: Archive, told: Told) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _download(archive, beside, told)
        if (actual := _sha256(beside)) != archive.sha256:
            raise StepFailed(
                f"{archive.location} has sha256 {actual}, locked is {archive.sha256}; nothing was installed. "
                "Was the release changed?"
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _download(archive: Archive, target: Path, told: Told) -> None:
    httpx, url = import_httpx(), archive.location
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as response,
            target.open("wb") as file,
        ):
            if response.is_error:
                raise StepFailed(f"could not fetch {url}: {response.status_code} {response.reason_phrase}")
            size = archive.size or int(response.headers.get("Content-Length", 0))
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                told(file.tell(), size)
    except (httpx.HTTPError, OSError) as error:
        raise StepFailed(f"could not fetch {url}: {error or type(error).__name__}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
