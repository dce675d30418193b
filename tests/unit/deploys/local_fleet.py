"""A fleet whose models are in a registry on loopback and in a file beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ollama_fleet.deploys.source import published
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.spec.fleet import Fleet
from unit.artifacts.gguf_files import TINY_LLAMA, shape_metadata, shape_tensors, write_model
from unit.artifacts.local_server import LocalServer, Reply, Request


class Registry:
    """Models of tiny GGUFs in a registry on loopback, which answers Range requests."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server

    def push(self, name: str, tag: str, gguf: bytes) -> str:
        """Returns what to write as `from`."""
        config = json.dumps({"model_format": "gguf", "model_family": "llama"}).encode()
        layers = [self._blob(name, gguf, "application/vnd.ollama.image.model")]
        layers.append(self._blob(name, b'{"top_k": 7}', "application/vnd.ollama.image.params"))
        configuration = self._blob(name, config, "application/vnd.docker.container.image.v1+json")
        manifest = {"schemaVersion": 2, "config": configuration, "layers": layers}
        self.server.routes[f"/v2/library/{name}/manifests/{tag}"] = Reply(body=json.dumps(manifest).encode())
        return f"{self.server.host}/library/{name}:{tag}"

    def _blob(self, name: str, content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"

        def answer(request: Request) -> Reply:
            if "Range" not in request.headers:
                return Reply(body=content)
            start, _, end = request.headers["Range"].removeprefix("bytes=").partition("-")
            part = content[int(start) : int(end) + 1]
            return Reply(206, part, {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

        self.server.routes[f"/v2/library/{name}/blobs/{digest}"] = answer
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    @property
    def manifests_asked_for(self) -> set[str]:
        paths = [request.path for request in self.server.requests]
        return {path.rpartition("/")[2] for path in paths if "/manifests/" in path}


def gguf(path: Path, quantization: str = "F16") -> Path:
    file_type = {"F16": 1, "Q8_0": 7, "Q4_K_M": 15}[quantization]
    tensors = shape_tensors(TINY_LLAMA, quantization)
    return write_model(path, tensors, shape_metadata(TINY_LLAMA), file_type=file_type)


def local_fleet(folder: Path, registry: Registry, releases: str, hosts: dict[str, Any]) -> Fleet:
    """A fleet with a model in two quantisations from the registry, and one from a file beside it."""
    bases = {
        name: registry.push("tiny", name.lower(), gguf(folder / f"{name}.gguf", name).read_bytes())
        for name in ("Q8_0", "Q4_K_M")
    }
    gguf(folder / "mine.gguf")
    document = {
        "version": 1,
        "release": {"version": "0.32.15", "source": releases},
        "registries": {registry.server.host: {"insecure": True}},
        "models": {
            "open": {
                "from": bases["Q8_0"],
                "num_ctx": 512,
                "quantization": ["Q8_0", "Q4_K_M"],
                "variants": bases,
                "num_gpu": "auto",
            },
            "mine": {"from": "./mine.gguf", "num_ctx": 256, "num_gpu": "auto"},
        },
        "hosts": hosts,
    }
    path = folder / "fleet.yaml"
    path.write_text(json.dumps(document))
    return Fleet.load(path, catalogue().keys(), published)


DECLARED = {"pc": {"gpus": ["rtx-4090"], "models": ["open", "mine"]}}
