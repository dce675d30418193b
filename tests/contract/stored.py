"""What a server should have stored, worked out here from the documented rules and not by the stand-in's code."""

from __future__ import annotations

import hashlib
import json
from typing import Any

IMAGE = "application/vnd.ollama.image."
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def go_json(value: Any) -> bytes:
    """A Go encoder's line for a map: sorted keys, no blanks, `<>&` escaped. For the plain values of these tests."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode() + b"\n"


def layer(kind: str, data: bytes, **extra: str) -> dict[str, Any]:
    """A manifest's entry for a layer with this content."""
    return {"mediaType": IMAGE + kind, "digest": digest_of(data), "size": len(data), **extra}


def config_blob(layers: list[dict[str, Any]], *, llama_server: bool, **fields: Any) -> bytes:
    """The config of a model made of a tiny llama: fields in the order of the server's struct."""
    config: dict[str, Any] = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "114K",
        "file_type": "F16",
        **fields,
        "architecture": "amd64",
        "os": "linux",
    }
    if not llama_server:
        config["rootfs"] = {"type": "layers", "diff_ids": [entry["digest"] for entry in layers]}
    return json.dumps(config, separators=(",", ":")).encode() + b"\n"


def manifest(config: bytes, layers: list[dict[str, Any]]) -> bytes:
    """The bytes of a manifest that a server wrote itself."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
