"""Model manifests: what a tag consists of, layer by layer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ollama_fleet.artifacts.sha256 import check_digest, sha256_of

__all__ = [
    "CONFIG_MEDIA_TYPE",
    "MANIFEST_MEDIA_TYPE",
    "MAX_MANIFEST_BYTES",
    "Layer",
    "Manifest",
    "ManifestError",
    "check_media_type",
    "media_type",
]

MANIFEST_MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_MEDIA_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_PREFIX = "application/vnd.ollama.image."

# A model stored tensor by tensor has some thousand layers of 200 to 300 bytes each; nothing honest is larger.
MAX_MANIFEST_BYTES = 4 << 20
_MAX_SIZE = (1 << 63) - 1


_MEDIA_TYPE = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


class ManifestError(ValueError):
    """Bytes that are not a manifest Ollama could use; the message is one line."""


def media_type(kind: str) -> str:
    """The media type of a layer: `params` becomes `application/vnd.ollama.image.params`."""
    return _LAYER_PREFIX + kind


def check_media_type(text: object) -> str:
    """Return `text` where it can be a media type. Raises ValueError."""
    if isinstance(text, str) and _MEDIA_TYPE.fullmatch(text):
        return text
    raise ValueError(f"{_shown(text)} is not a media type")


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a model: what it is, its digest and its size in bytes.

    `from_name` is the base that a created model took the layer from; `name` is the tensor, for models stored
    tensor by tensor.
    """

    media_type: str
    digest: str
    size: int
    from_name: str | None = None
    name: str | None = None

    @property
    def kind(self) -> str:
        """The last word of the media type: `model`, `params`, `system`, …"""
        return self.media_type.removeprefix(_LAYER_PREFIX)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest. `raw` holds the bytes it was read from, which its digest is of; a built one has none."""

    config: Layer
    layers: tuple[Layer, ...]
    raw: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest of at most `MAX_MANIFEST_BYTES`.

        Raises:
            ManifestError: for anything that is not a complete manifest of a model.
        """
        document = _document(data)
        if "manifests" in document:
            raise ManifestError("this is an index of container images, not the manifest of a model")
        if document.get("schemaVersion") != 2:
            raise ManifestError(f"schemaVersion is {_shown(document.get('schemaVersion'))}, not 2")
        layers = document.get("layers")
        if layers is None:  # Go writes an empty list as null
            layers = []
        if not isinstance(layers, list):
            raise ManifestError("layers is not a list")
        return cls(
            config=_layer(document.get("config"), "config"),
            layers=tuple(_layer(item, f"layers[{index}]") for index, item in enumerate(layers)),
            raw=data,
        )

    @property
    def digest(self) -> str:
        """`sha256:…` of the manifest's bytes; `/api/tags` shows the same digits without the prefix.

        Raises:
            ManifestError: for a manifest that was built, not read.
        """
        if self.raw is None:
            raise ManifestError("a manifest that was not read from bytes has no digest")
        return sha256_of(self.raw)

    @property
    def total_size(self) -> int:
        """Bytes of all layers and the config, as `/api/tags` counts them."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def layer(self, kind: str) -> Layer | None:
        """The first layer of a kind (`model`, `params`, `system`, `template`, …)."""
        return next(self.layers_of(kind), None)

    def layers_of(self, kind: str) -> Iterator[Layer]:
        """All layers of a kind, in the order of the manifest."""
        return (layer for layer in self.layers if layer.media_type == media_type(kind))

    @property
    def blobs(self) -> dict[str, int]:
        """Every blob the model needs: digest to size in bytes."""
        return {layer.digest: layer.size for layer in (*self.layers, self.config)}


def _document(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{len(data)} bytes are too many for a manifest (at most {MAX_MANIFEST_BYTES})")
    try:
        document = json.loads(data)
    except UnicodeDecodeError:
        raise ManifestError("not a manifest: it is no UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ManifestError(f"not a manifest: {reason}") from None
    if not isinstance(document, dict):
        raise ManifestError("not a manifest: it is no JSON object")
    return document


def _layer(value: object, where: str) -> Layer:
    if not isinstance(value, dict):
        raise ManifestError(f"{where} is missing or no object")
    try:
        kind = check_media_type(value.get("mediaType"))
        digest = check_digest(value.get("digest"))
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from None
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise ManifestError(f"{where}.size is {_shown(size)}, not a number of bytes")
    return Layer(kind, digest, size, _text(value, "from", where), _text(value, "name", where))


def _text(value: dict[str, Any], key: str, where: str) -> str | None:
    text = value.get(key)
    if text is None or isinstance(text, str):
        return text or None
    raise ManifestError(f"{where}.{key} is {_shown(text)}, not a text")


def _shown(value: object) -> str:
    # repr of a hostile number can itself raise, for more digits than Python will print.
    try:
        return repr(value)[:60]
    except ValueError:
        return "a very long number"
