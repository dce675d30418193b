"""Digests in Ollama's notation: `sha256:` and 64 lower-case hexadecimal digits."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["blob_filename", "check_digest", "hex_of", "sha256_of", "sha256_of_file"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20


def check_digest(text: object) -> str:
    """Return `text` where it is a digest.

    Raises:
        ValueError: with one line that says what a digest looks like.
    """
    if isinstance(text, str) and _DIGEST.fullmatch(text):
        return text
    raise ValueError(f"{repr(text)[:100]} is not a digest (sha256: and 64 lower-case hexadecimal digits)")


def hex_of(digest: str) -> str:
    """The 64 digits alone, as `/api/tags` and `sha256sum` write them."""
    return check_digest(digest).removeprefix("sha256:")


def blob_filename(digest: str) -> str:
    """The file's name below `$OLLAMA_MODELS/blobs`."""
    return f"sha256-{hex_of(digest)}"


def sha256_of(data: bytes) -> str:
    """The digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sha256_of_file(path: Path) -> tuple[str, int]:
    """The digest and the size in bytes of a file, read in pieces of 1 MiB.

    Raises:
        OSError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
    return f"sha256:{digest.hexdigest()}", size
