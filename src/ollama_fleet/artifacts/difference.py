"""In what a model on a host differs from what it should be, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ollama_fleet.artifacts.digests import CreatedModel
from ollama_fleet.artifacts.gojson import decode, encode
from ollama_fleet.artifacts.manifest import Manifest, media_type
from ollama_fleet.artifacts.model_config import ModelConfig

__all__ = ["explain_difference"]

# Layers that a created model has of its own, as people call them; all others come from the base.
_TEXTS = {
    "system": "system prompt",
    "template": "template",
    "license": "license",
    "messages": "list of messages",
}
_OWN = frozenset(media_type(kind) for kind in (*_TEXTS, "params"))
_MAX_SHOWN = 60


def explain_difference(
    expected: CreatedModel,
    actual: Manifest,
    actual_params: bytes | None = None,
    actual_config: ModelConfig | None = None,
) -> list[str]:
    """One short phrase for each difference, none where the model is right.

    Args:
        expected: from `created_layers`.
        actual: the manifest found on the host.
        actual_params: the blob of its params layer; without it the parameters are only said to differ.
        actual_config: its config; without it renderer, parser and requires are not compared.
    """
    wanted = _by_type((layer.media_type, layer.digest) for layer in expected.layers)
    found = _by_type((layer.media_type, layer.digest) for layer in actual.layers)
    reasons = []
    kinds = [kind for kind in sorted(wanted.keys() | found.keys()) if wanted.get(kind) != found.get(kind)]
    if base := [kind.rpartition(".")[2] for kind in kinds if kind not in _OWN]:
        reasons.append(f"base layers differ ({', '.join(base)})")
    if (params := media_type("params")) in kinds:
        reasons += _parameters(expected.params, actual_params if params in found else b"{}")
    for kind, name in _TEXTS.items():
        if media_type(kind) in kinds:
            reasons.append(f"{name} {_verb(media_type(kind), wanted, found)}")
    if actual_config is not None:
        for key in ("renderer", "parser", "requires"):
            is_now, wants = getattr(actual_config, key), getattr(expected, key)
            if wants is not None and is_now != wants:
                reasons.append(f"{key} is {is_now or 'not set'}, wanted {wants or 'not set'}")
    return reasons


def _by_type(layers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for kind, digest in sorted(layers):
        result.setdefault(kind, []).append(digest)
    return result


def _verb(kind: str, wanted: Mapping[str, list[str]], found: Mapping[str, list[str]]) -> str:
    if kind not in found:
        return "is missing"
    return "differs" if kind in wanted else "should not be there"


def _parameters(wanted: Mapping[str, Any], blob: bytes | None) -> list[str]:
    try:
        actual = decode(blob) if blob is not None else None
    except ValueError:
        actual = None
    if not isinstance(actual, dict):
        return ["parameters differ"]
    reasons = []
    for key in sorted(wanted.keys() | actual.keys()):
        if key not in actual:
            reasons.append(f"parameter {key} is not set, wanted {_shown(wanted[key])}")
        elif key not in wanted:
            reasons.append(f"parameter {key} is {_shown(actual[key])}, wanted not set")
        elif _shown(wanted[key], None) != _shown(actual[key], None):
            reasons.append(f"parameter {key} is {_shown(actual[key])}, wanted {_shown(wanted[key])}")
    # Same content in other bytes: somebody else wrote the layer.
    return reasons or ["parameters are written differently"]


def _shown(value: object, limit: int | None = _MAX_SHOWN) -> str:
    try:
        text = encode(value).decode().removesuffix("\n")
    except ValueError:
        text = "a value that is no JSON"
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
