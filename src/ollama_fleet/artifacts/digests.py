"""Which layers a created model will have, computed without a server.

Follows what `/api/create` does with a base that is on the server, as of Ollama 0.24. 0.30 and later do the
same for every layer below; they differ in the config layer, in `files` and in quantising. Layers are content
addressed: equal digests mean equal bytes, so a model on a host is right exactly where its manifest has these
layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.artifacts.gojson import encode
from ollama_fleet.artifacts.manifest import Manifest, media_type
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.sha256 import check_digest, sha256_of

__all__ = [
    "CreatedModel",
    "ExpectedLayer",
    "created_layers",
    "license_layer_bytes",
    "messages_layer_bytes",
    "params_layer_bytes",
    "system_layer_bytes",
    "template_layer_bytes",
]

# Where renderer or parser is not set, Ollama chooses them for these architectures, each release as it sees
# fit, and gives some of them a stop word.
_ENGINE_CHOOSES = frozenset({"gemma4", "laguna", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni"})
_IMPLIED_STOP = {"gemma4": ["<turn|>"]}


@dataclass(frozen=True, slots=True)
class ExpectedLayer:
    """One layer of a model to be. `content` holds its bytes; None where the layer is inherited."""

    media_type: str
    digest: str
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class CreatedModel:
    """What `/api/create` makes of a request: every layer but the config, in the order of the manifest.

    `params` are the merged parameters; renderer, parser and requires stand in the config layer, and are None
    where the engine chooses them by itself.
    """

    layers: tuple[ExpectedLayer, ...]
    params: dict[str, Any]
    renderer: str | None = ""
    parser: str | None = ""
    requires: str = ""

    @property
    def digests(self) -> frozenset[tuple[str, str]]:
        """The set of (media type, digest)."""
        return frozenset((layer.media_type, layer.digest) for layer in self.layers)

    def matches(self, actual: Manifest) -> bool:
        """True where `actual` has exactly these layers, in whatever order; the config layer is left out."""
        return sorted((layer.media_type, layer.digest) for layer in self.layers) == sorted(
            (layer.media_type, layer.digest) for layer in actual.layers
        )


def params_layer_bytes(params: Mapping[str, object]) -> bytes:
    """The blob of the params layer.

    Raises:
        ValueError: for a value JSON cannot hold.
    """
    return encode(params)


def system_layer_bytes(text: str) -> bytes:
    """The blob of the system layer: the text itself."""
    return text.encode()


def template_layer_bytes(text: str) -> bytes:
    """The blob of the template layer: the text itself."""
    return text.encode()


def license_layer_bytes(text: str) -> bytes:
    """The blob of one license layer: the text itself."""
    return text.encode()


def messages_layer_bytes(messages: Iterable[Mapping[str, str]]) -> bytes:
    """The blob of the messages layer, from `{"role": …, "content": …}` each."""
    # A record in Go, not a map: its fields keep this order. The server folds the case of roles.
    turns = (
        f'{{"role":{_json(message["role"].lower())},"content":{_json(message["content"])}}}'
        for message in messages
    )
    return f"[{','.join(turns)}]\n".encode()


def created_layers(
    base: Manifest,
    base_params: Mapping[str, Any] | None,
    request: Mapping[str, Any],
    base_config: ModelConfig | None = None,
) -> CreatedModel:
    """What the model will consist of that `request` (a body for `/api/create`) makes from `base`.

    Args:
        base: the manifest of the model named by the request's `from`.
        base_params: the content of the base's params layer; may be None only where the base has none.
        request: as made by `Modelfile.create_request`.
        base_config: the base's config; without it renderer, parser and requires are taken as not set in the
            base, and the stop word Ollama adds for some architectures is not foreseen.

    Raises:
        ValueError: when the base's parameters are needed and not given, or the request quantises or brings
            files: the engine rewrites those, and no one can tell the digest beforehand.
    """
    for key in ("files", "quantize", "draft_files"):
        if request.get(key):
            raise ValueError(
                f"the layers of a request with {key!r} cannot be foreseen; import first, create from that"
            )
    if base_params is None and base.layer("params") is not None:
        raise ValueError("the base has parameters, and their content is not known")
    config = base_config or ModelConfig()
    otherwise = None if config.architecture in _ENGINE_CHOOSES else ""
    renderer = request.get("renderer") or config.renderer or otherwise
    parser = request.get("parser") or config.parser or otherwise

    layers = [ExpectedLayer(layer.media_type, layer.digest) for layer in base.layers]
    for digest in (request.get("adapters") or {}).values():
        layers.append(ExpectedLayer(media_type("adapter"), check_digest(digest)))
    # Empty texts in a request mean: keep what the base has.
    if request.get("template"):
        layers = _replaced(layers, "template", template_layer_bytes(request["template"]))
    if request.get("system"):
        layers = _replaced(layers, "system", system_layer_bytes(request["system"]))
    for text in _licenses(request.get("license")):
        layers.append(_layer("license", license_layer_bytes(text)))

    params = dict(request.get("parameters") or {})
    if config.architecture in _IMPLIED_STOP and not (renderer and parser):
        params.setdefault("stop", _IMPLIED_STOP[config.architecture])
    params = {**(base_params or {}), **params}
    if params:
        layers = _replaced(layers, "params", params_layer_bytes(params))
    if request.get("messages"):
        layers = _replaced(layers, "messages", messages_layer_bytes(request["messages"]))
    return CreatedModel(
        layers=tuple(layers),
        params=params,
        renderer=renderer,
        parser=parser,
        requires=request.get("requires") or config.requires,
    )


def _json(text: str) -> str:
    return encode(text).decode().removesuffix("\n")


def _layer(kind: str, content: bytes) -> ExpectedLayer:
    return ExpectedLayer(media_type(kind), sha256_of(content), content)


def _replaced(layers: list[ExpectedLayer], kind: str, content: bytes) -> list[ExpectedLayer]:
    """The old layers of this kind go, the new one is the last."""
    return [layer for layer in layers if layer.media_type != media_type(kind)] + [_layer(kind, content)]


def _licenses(value: object) -> list[str]:
    # A single text counts only where it is not empty; of a list every item does.
    if isinstance(value, str):
        return [value] if value else []
    return list(value) if isinstance(value, (list, tuple)) else []
