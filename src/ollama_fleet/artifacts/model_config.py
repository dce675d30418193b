"""The config blob of a model: format, architecture, size and what renders and parses its chat."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ollama_fleet.artifacts.manifest import ManifestError

__all__ = ["MAX_CONFIG_BYTES", "ModelConfig"]

MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The fields of the config blob that decide something; empty where the blob has none.

    `architecture` is the blob's `model_family`; its own `architecture` is a CPU's and says nothing about the
    model.
    """

    model_format: str = ""
    architecture: str = ""
    parameter_size: str = ""
    quantization: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""

    @classmethod
    def parse(cls, data: bytes) -> ModelConfig:
        """Read a config blob of at most `MAX_CONFIG_BYTES`.

        Raises:
            ManifestError: when it is no JSON object, or one of these fields is no text.
        """
        if len(data) > MAX_CONFIG_BYTES:
            raise ManifestError(
                f"{len(data)} bytes are too many for a model's config (at most {MAX_CONFIG_BYTES})"
            )
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            raise ManifestError("the model's config is no JSON") from None
        if not isinstance(document, dict):
            raise ManifestError("the model's config is no JSON object")
        fields: dict[str, str] = {}
        for name, key in _KEYS.items():
            value = document.get(key)
            if value is not None and not isinstance(value, str):
                raise ManifestError(f"{key} in the model's config is no text")
            fields[name] = value or ""
        return cls(**fields)


_KEYS = {
    "model_format": "model_format",
    "architecture": "model_family",
    "parameter_size": "model_type",
    "quantization": "file_type",
    "renderer": "renderer",
    "parser": "parser",
    "requires": "requires",
}
