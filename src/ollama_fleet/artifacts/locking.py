"""Resolving names to what the lock holds: releases and models, from the network or from files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from ollama_fleet.artifacts.gguf_reader import GgufError
from ollama_fleet.artifacts.gojson import decode, encode
from ollama_fleet.artifacts.http_source import FetchError, HttpOptions, HttpSource, NotThere
from ollama_fleet.artifacts.lock_entries import ArchiveLock, Facts, FileLock, ModelLock, ReleaseLock
from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.model_config import MAX_CONFIG_BYTES, ModelConfig
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.registry import RegistryClient, RegistryError
from ollama_fleet.artifacts.releases import (
    CHECKSUMS,
    MAX_CHECKSUMS_BYTES,
    ReleaseError,
    Version,
    archive_name,
    parse_checksums,
    upstream_url,
)
from ollama_fleet.artifacts.sha256 import hex_of, sha256_of_file

__all__ = [
    "LockingError",
    "ReadFacts",
    "archive_urls",
    "manifest_digest",
    "resolve_file",
    "resolve_model",
    "resolve_release",
]

_MAX_PARAMS_BYTES = 1 << 20

ReadFacts = Callable[..., Facts]
"""Reads facts from weights: gets a function (start, length) → bytes and the size of the weights in bytes; where
the model has a projector, also the same two of it, as a pair. `gguf.read_facts` is one."""


class LockingError(Exception):
    """A name could not be resolved. One line: which, why, and what to do."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
        """Whoever was asked answered that there is no such thing, or not any more."""


def resolve_release(
    version: str,
    targets: Iterable[str],
    *,
    source: str | Path | None = None,
    options: HttpOptions | None = None,
) -> ReleaseLock:
    """Find the archives of a release and their hashes.

    Args:
        version: such as `0.32.15`.
        targets: which archives (`linux-amd64`, `linux-amd64-rocm`, …).
        source: None for upstream; a base URL that holds `sha256sum.txt` and the archives; a directory with
            the archives; or one archive for the one target. `{version}` in it is replaced.
        options: how the servers are reached.

    Raises:
        LockingError: when an archive or its hash cannot be found.
    """
    names, where = _asked(version, targets, source)
    try:
        found = _from_url(where, names, options) if isinstance(where, str) else _from_path(where, names)
    except ValidationError as error:
        raise LockingError(f"release {version}: {_first(error)}") from None
    except (FetchError, ReleaseError) as error:
        raise LockingError(f"release {version}: {error}", gone=_is_gone(error)) from None
    return ReleaseLock(archives=found)


def archive_urls(version: str, targets: Iterable[str], *, source: str | Path | None = None) -> dict[str, str]:
    """The URL that `resolve_release` gives each archive, without looking. Raises LockingError."""
    names, where = _asked(version, targets, source)
    if isinstance(where, str):
        return {target: where + name for target, name in names.items()}
    if where.is_file():
        return dict.fromkeys(names, where.resolve().as_uri())
    return {target: (where / name).resolve().as_uri() for target, name in names.items()}


def _asked(
    version: str, targets: Iterable[str], source: str | Path | None
) -> tuple[dict[str, str], str | Path]:
    """File names by target, and where they are: a URL that ends in a slash, or a path."""
    try:
        parsed = Version.parse(version)
        names = {target: archive_name(parsed, target) for target in targets}
    except ReleaseError as error:
        raise LockingError(f"release {version}: {error}") from None
    if not names:
        raise LockingError(f"release {version}: no target was asked for")
    if source is None:
        return names, upstream_url(parsed, "")
    where = str(source).replace("{version}", str(parsed))
    if "@" in urlsplit(where).netloc:
        raise LockingError(
            f"release {version}: the source has a user in its URL; secrets must not get into the lock"
        )
    if where.startswith(("http://", "https://")):
        return names, where.rstrip("/") + "/"
    return names, Path(where.removeprefix("file://"))


def resolve_model(
    name: ModelName, options: HttpOptions | None = None, read_facts: ReadFacts | None = None
) -> ModelLock:
    """Read a model's manifest, its parameters and its config from its registry; of the weights only the
    beginning.

    Raises:
        LockingError: when there is no such model, or the registry cannot be used.
    """
    try:
        with RegistryClient(options) as registry:
            manifest = registry.manifest(name)
            params = _params(registry, name, manifest)
            config = registry.blob(name, manifest.config.digest, MAX_CONFIG_BYTES)
            facts = None
            weights = manifest.layer("model")
            if read_facts is not None and weights is not None:
                projector = manifest.layer("projector")
                layers = [weights] if projector is None else [weights, projector]
                blobs = [(partial(registry.blob_range, name, layer.digest), layer.size) for layer in layers]
                facts = read_facts(*blobs[0], *blobs[1:])
            return ModelLock.of(manifest, params, ModelConfig.parse(config), facts)
    except ValidationError as error:
        raise LockingError(f"model {name.short}: {_first(error)}") from None
    except (FetchError, ManifestError, GgufError) as error:
        raise LockingError(f"model {name.short}: {error}", gone=_is_gone(error)) from None


def manifest_digest(name: ModelName, options: HttpOptions | None = None) -> str:
    """The digest of the manifest that a registry serves under a name at this moment.

    Raises:
        LockingError: when there is no such model, or the registry cannot be used.
    """
    try:
        with RegistryClient(options) as registry:
            return registry.manifest(name).digest
    except (FetchError, ManifestError) as error:
        raise LockingError(f"model {name.short}: {error}", gone=_is_gone(error)) from None


def resolve_file(path: Path, read_facts: ReadFacts | None = None) -> FileLock:
    """Hash a GGUF file.

    Raises:
        LockingError: when it cannot be read or is no GGUF.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise LockingError(f"file {path}: this is no GGUF file")
            digest, size = sha256_of_file(path)

            def read(start: int, length: int) -> bytes:
                stream.seek(start)
                return stream.read(length)

            facts = read_facts(read, size) if read_facts is not None else None
    except GgufError as error:
        raise LockingError(f"file {path}: {error}") from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise LockingError(f"file {path}: {reason}", gone=_is_gone(error)) from None
    return FileLock(sha256=hex_of(digest), size=size, facts=facts)


def _is_gone(error: Exception) -> bool:
    return isinstance(error, NotThere | FileNotFoundError)


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return str(problem.get("ctx", {}).get("error", problem["msg"]))


def _params(registry: RegistryClient, name: ModelName, manifest: Manifest) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in manifest.layers_of("params"):
        content = registry.blob(name, layer.digest, _MAX_PARAMS_BYTES)
        try:
            params = decode(content)
            encode(params)  # what was read loosely must be writable, or no model could be made of it
        except ValueError:
            params = None
        if not isinstance(params, dict):
            raise RegistryError("its parameters are no JSON object; the model is broken")
        merged = {**params, **merged}
    return merged


def _from_url(base: str, names: dict[str, str], options: HttpOptions | None) -> dict[str, ArchiveLock]:
    with HttpSource(options) as http:
        listing = http.get(base + CHECKSUMS, MAX_CHECKSUMS_BYTES)
        if listing.status != 200:
            raise _refusal(
                listing.status,
                f"{base}{CHECKSUMS}: the server answers {listing.status}; is there such a release?",
            )
        hashes = parse_checksums(listing.body.decode("utf-8", "replace"), base + CHECKSUMS)
        archives = {}
        for target, name in names.items():
            if name not in hashes:
                raise NotThere(f"{base}{CHECKSUMS}: has no {name}")
            archives[target] = ArchiveLock(
                url=base + name, sha256=hashes[name], size=_size(http, base + name)
            )
        return archives


def _size(http: HttpSource, url: str) -> int:
    answer = http.head(url)
    length = answer.headers.get("content-length", "")
    if answer.status != 200:
        raise _refusal(answer.status, f"{url}: the server answers {answer.status}, though its hash is listed")
    if not length.isascii() or not length.isdigit() or len(length) > 18:
        raise FetchError(f"{url}: the server does not tell its size (Content-Length)")
    return int(length)


def _refusal(status: int, message: str) -> FetchError:
    return NotThere(message) if status in {404, 410} else FetchError(message)


def _from_path(path: Path, names: dict[str, str]) -> dict[str, ArchiveLock]:
    if path.is_file():
        if len(names) > 1:
            raise ReleaseError(
                f"{path} is one file, but {len(names)} archives are asked for: {', '.join(names)}"
            )
        return {target: _local(path, None) for target in names}
    if not path.is_dir():
        raise ReleaseError(f"{path} is neither a file nor a directory")
    listing = path / CHECKSUMS
    hashes = parse_checksums(listing.read_text("utf-8", "replace"), str(listing)) if listing.is_file() else {}
    return {target: _local(path / name, hashes.get(name)) for target, name in names.items()}


def _local(path: Path, expected: str | None) -> ArchiveLock:
    try:
        digest, size = sha256_of_file(path)
    except OSError as error:
        kind = NotThere if isinstance(error, FileNotFoundError) else ReleaseError
        raise kind(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    actual = hex_of(digest)
    if expected is not None and actual != expected:
        raise ReleaseError(f"{path}: its sha256 is {actual}, {CHECKSUMS} beside it says {expected}")
    return ArchiveLock(url=path.resolve().as_uri(), sha256=actual, size=size)
