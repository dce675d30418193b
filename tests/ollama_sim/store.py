"""Blobs and manifests in `OLLAMA_MODELS`, laid out as the real server lays them out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from ollama_sim import gojson, golog, names

DIGEST = re.compile(r"^sha256[:-][0-9a-fA-F]{64}$")
PREFIX = "application/vnd.ollama.image."
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
PRUNE_GRACE_SECONDS = 3600
_CHUNK = 1 << 20


class InvalidDigestError(ValueError):
    """A digest that is not sha256 and 64 hex digits."""

    def __init__(self) -> None:
        super().__init__("invalid digest format")


@dataclass(frozen=True)
class Layer:
    """An entry of a manifest. `status` is only told while creating."""

    media_type: str
    digest: str
    size: int
    parent: str = ""
    name: str = ""
    status: str = field(default="", compare=False)

    @property
    def kind(self) -> str:
        """The last part of the media type: model, params, system, template, license, messages."""
        return self.media_type.removeprefix(PREFIX)

    def as_json(self) -> gojson.Struct:
        fields = gojson.Struct(mediaType=self.media_type, digest=self.digest, size=self.size)
        fields["from"], fields["name"] = self.parent, self.name
        return fields.without_empty("from", "name")


@dataclass(frozen=True)
class Manifest:
    """A manifest as it lies on disk; `digest` is the bare hex sha256 of its bytes."""

    name: names.Name
    config: Layer
    layers: tuple[Layer, ...]
    digest: str
    modified: int
    path: Path

    @property
    def size(self) -> int:
        """Bytes of all layers, the config included."""
        return sum(layer.size for layer in (*self.layers, self.config))

    @property
    def digests(self) -> set[str]:
        return {layer.digest for layer in (*self.layers, self.config) if layer.digest}


class Store:
    """One models directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def blobs(self) -> Path:
        path = self.root / "blobs"
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return path

    @property
    def manifests(self) -> Path:
        path = self.root / "manifests"
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return path

    def blob(self, digest: str) -> Path:
        """Where a blob lies. Raises InvalidDigestError."""
        if not DIGEST.match(digest):
            raise InvalidDigestError
        return self.blobs / digest.replace(":", "-")

    # --- layers

    def put(self, data: bytes, media_type: str) -> Layer:
        """Store bytes as a layer."""
        return self.put_stream([data], media_type)

    def put_stream(self, pieces: Iterable[bytes], media_type: str) -> Layer:
        """Store a stream as a layer; written beside and renamed, mode 0644."""
        digest, size = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(prefix="sha256-", dir=self.blobs)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    size += file.write(piece)
            name = f"sha256:{digest.hexdigest()}"
            path, status = self.blob(name), "using existing layer"
            if not path.exists():
                status = "creating new layer"
                Path(temporary).rename(path)
                path.chmod(0o644)
        finally:
            Path(temporary).unlink(missing_ok=True)
        os.utime(path)
        return Layer(media_type, name, size, status=f"{status} {name}")

    def reuse(self, digest: str, media_type: str, parent: str) -> Layer:
        """A layer out of a blob that is already there. Raises FileNotFoundError."""
        path = self.blob(digest)
        size = path.stat().st_size
        os.utime(path)
        return Layer(media_type, digest, size, parent, status=f"using existing layer {digest}")

    def read(self, layer: Layer) -> bytes:
        return self.blob(layer.digest).read_bytes()

    # --- manifests

    def stored_names(self) -> list[names.Name]:
        return [manifest.name for manifest in self.all()]

    def all(self, *, strict: bool = False) -> list[Manifest]:
        """Every manifest that can be read. With `strict`, raises ValueError at the first that cannot."""
        found = []
        for path in sorted(self.manifests.glob("*/*/*/*")):
            if path.is_dir():
                continue
            parts = path.relative_to(self.manifests).parts
            name = names.from_path(parts)
            if name is None:
                if strict:
                    raise ValueError(f"{'/'.join(parts)} %!w(<nil>)")
                golog.log("WARN", "manifest.go:213", "bad manifest name", path="/".join(parts))
                continue
            try:
                found.append(self.load(name))
            except (OSError, ValueError) as error:
                if strict:
                    raise ValueError(f"{name} {error}") from error
                golog.log("WARN", "manifest.go:222", "bad manifest", name=name, error=error)
        return found

    def load(self, name: names.Name) -> Manifest:
        """The manifest of a name. Raises FileNotFoundError, or ValueError where it is not JSON."""
        path = self.manifests / name.path
        raw = path.read_bytes()
        return parse_manifest(raw, name, path)

    def write_manifest(self, name: names.Name, raw: bytes) -> None:
        path = self.manifests / name.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(raw)

    def existing(self, name: names.Name) -> names.Name:
        """The name in the letter case of what is already stored."""
        return name.like(self.stored_names())

    # --- removing

    def in_use(self) -> set[str]:
        return {digest for manifest in self.all() for digest in manifest.digests}

    def drop_layer(self, layer: Layer) -> None:
        """Remove a layer's blob unless a manifest needs it."""
        if layer.digest and layer.digest not in self.in_use():
            self.blob(layer.digest).unlink(missing_ok=True)

    def drop_unused(self, digests: Iterable[str]) -> int:
        """Remove those of `digests` that no manifest needs; how many there were to remove."""
        unused = set(digests) - self.in_use()
        for digest in unused:
            try:
                self.blob(digest).unlink()
            except OSError as error:
                golog.log("INFO", "images.go:537", f"couldn't remove file '{self.blob(digest)}': {error}")
        return len(unused)

    def remove(self, manifest: Manifest) -> None:
        """Remove a manifest, the folders it leaves empty, and the layers nobody else needs."""
        manifest.path.unlink()
        remove_empty(self.manifests)
        for digest in manifest.digests - self.in_use():
            self.blob(digest).unlink(missing_ok=True)

    def prune(self, grace_seconds: int) -> None:
        """What the server does at its start: unused blobs and half downloads go, young ones stay."""
        candidates = []
        for path in sorted(self.blobs.iterdir()):
            if path.is_dir() or time.time() - path.stat().st_mtime < grace_seconds:
                continue
            digest = path.name.replace("-", ":")
            if DIGEST.match(digest):
                candidates.append(digest)
            else:
                path.unlink()
        golog.log("INFO", "images.go:589", f"total blobs: {len(candidates)}")
        removed = self.drop_unused(candidates)
        golog.log("INFO", "images.go:596", f"total unused blobs removed: {removed}")
        remove_empty(self.manifests)


def encode_manifest(config: Layer, layers: Iterable[Layer]) -> bytes:
    """The bytes of a manifest as the server writes its own."""
    document = gojson.Struct(
        schemaVersion=2,
        mediaType=MANIFEST_TYPE,
        config=config.as_json(),
        layers=[layer.as_json() for layer in layers],
    )
    return gojson.encode_line(document)


def parse_manifest(raw: bytes, name: names.Name, path: Path) -> Manifest:
    """Read a manifest's bytes. Raises ValueError."""
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise ValueError("unexpected EOF" if not raw.strip() else "invalid character in manifest") from error
    if not isinstance(document, dict):
        raise ValueError("json: cannot unmarshal into Go value of type manifest.Manifest")
    return Manifest(
        name=name,
        config=_layer(document.get("config") or {}),
        layers=tuple(_layer(entry) for entry in document.get("layers") or []),
        digest=hashlib.sha256(raw).hexdigest(),
        modified=path.stat().st_mtime_ns if path.exists() else 0,
        path=path,
    )


def _layer(entry: dict[str, Any]) -> Layer:
    return Layer(
        media_type=entry.get("mediaType", ""),
        digest=entry.get("digest", ""),
        size=int(entry.get("size", 0)),
        parent=entry.get("from", ""),
        name=entry.get("name", ""),
    )


def without_status(layer: Layer) -> Layer:
    return replace(layer, status="")


def remove_empty(path: Path) -> None:
    """Remove the folder and everything below it that holds no file."""
    if path.is_symlink() or not path.is_dir():
        return
    for child in path.iterdir():
        remove_empty(child)
    if not any(path.iterdir()):
        path.rmdir()


def sha256_file(path: Path) -> str:
    """`sha256:<hex>` of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in chunks(file):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
