"""Models on a host, compared by their manifests: no server needs to run for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.artifacts.difference import explain_difference
from ollama_fleet.artifacts.digests import CreatedModel
from ollama_fleet.artifacts.manifest import Manifest, ManifestError
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.layout import on_instance
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedBase:
    """A model from a registry, exactly as it is locked."""

    model: ModelName
    digest: str
    """`sha256:…` of the manifest as the registry serves it."""
    content: frozenset[str]
    """Digests of its layers and its config: what the manifest stands for, however it is written."""
    size: int
    """Bytes of all blobs together."""
    insecure: bool = False
    kind: str = "base"

    @property
    def name(self) -> str:
        """The name as Ollama shows it."""
        return self.model.short

    def differences(self, state: HostState) -> list[Difference]:
        """Compare by content: servers before 0.19 write manifests anew, with another digest of their own."""
        manifest, found = _stored(self.model, state)
        if manifest is not None and frozenset(manifest.blobs) != self.content:
            found.append(Difference("content", self.digest, manifest.digest))
        return found


@dataclass(frozen=True, slots=True)
class WantedImport:
    """A GGUF file of the controller, imported once under a tag that carries its hash."""

    model: ModelName
    path: str
    """As written in fleet.yaml, relative to that file."""
    sha256: str
    size: int
    """Bytes."""
    kind: str = "import"

    @property
    def name(self) -> str:
        """The name as Ollama shows it."""
        return self.model.short

    def differences(self, state: HostState) -> list[Difference]:
        """Look for the tag: engines from 0.30 on rewrite the weights, so their digest says nothing."""
        return _stored(self.model, state)[1]


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model created from a base with parameters, prompt and template of its own."""

    model: ModelName
    base: ModelName
    request: Mapping[str, Any]
    """Body for `POST /api/create`."""
    expected: CreatedModel | None
    """What creating it gives; None where the base is not on the host yet and only the engine knows."""
    kind: str = "model"

    @property
    def name(self) -> str:
        """The name as Ollama shows it."""
        return self.model.short

    def differences(self, state: HostState) -> list[Difference]:
        """Compare the manifest's layers with those that creating it would give."""
        manifest, found = _stored(self.model, state)
        if manifest is None:
            return found
        if self.expected is None:
            return [*found, Difference("base", f"made from {self.base.short}", "absent")]
        params = manifest.layer("params")
        reasons = explain_difference(
            self.expected,
            manifest,
            state.store.small_blobs.get(params.digest) if params else None,
            _config(manifest, state),
        )
        return [*found, *(Difference("content", "as rendered", reason) for reason in reasons)]


@dataclass(frozen=True, slots=True)
class WantedLoaded:
    """A model kept in memory for good. One that may leave by itself is no drift when it has."""

    model: ModelName
    keep_alive: str | None
    """As the API takes it; None leaves it to the server's OLLAMA_KEEP_ALIVE."""
    for_good: bool
    instance: str = ""
    """Of several servers the one that has it in memory."""
    kind: str = "loaded"

    @property
    def name(self) -> str:
        """The name as Ollama shows it, and which of several servers it is about."""
        return on_instance(self.model.short, self.instance)

    @property
    def keep_alive_value(self) -> str | int | None:
        """`keep_alive` as JSON: the API takes a bare number only as a number."""
        text = self.keep_alive
        return int(text) if text is not None and text.lstrip("-").isdigit() else text

    def differences(self, state: HostState) -> list[Difference]:
        """Compare with what the server says is in memory, where it was asked."""
        loaded = state.loaded_by.get(self.instance) if self.instance else state.loaded
        if not self.for_good or loaded is None or self.model.short in loaded:
            return []
        return [Difference("in memory", "yes", "no")]


def _stored(name: ModelName, state: HostState) -> tuple[Manifest | None, list[Difference]]:
    stored = next((model for model in state.store.models if model.name == name), None)
    if stored is None:
        return None, [Difference("model", "present", "absent")]
    try:
        manifest = Manifest.parse(stored.manifest)
    except ManifestError as error:
        return None, [Difference("manifest", "readable", str(error))]
    missing = [
        digest for digest, size in manifest.blobs.items() if state.store.blob_sizes.get(digest) != size
    ]
    return manifest, [
        Difference(f"blob {digest[:19]}", "complete", "missing or cut off") for digest in missing
    ]


def _config(manifest: Manifest, state: HostState) -> ModelConfig | None:
    blob = state.store.small_blobs.get(manifest.config.digest)
    try:
        return None if blob is None else ModelConfig.parse(blob)
    except ManifestError:
        return None
