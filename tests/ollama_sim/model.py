"""A stored model as the server sees it: its layers read, its capabilities, its description."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollama_sim import gguf, gojson, gotime, names
from ollama_sim.release import Generation
from ollama_sim.store import Manifest, Store

DEFAULT_TEMPLATE = "{{ .Prompt }}"


@dataclass
class Model:
    """One model with everything its manifest names."""

    name: names.Name
    manifest: Manifest
    config: dict[str, Any]
    file: Path | None = None
    parent: str = ""
    adapters: list[Path] = field(default_factory=list)
    projectors: list[Path] = field(default_factory=list)
    system: str = ""
    template: str = DEFAULT_TEMPLATE
    licenses: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def header(self) -> gguf.Header | None:
        if self.file is None:
            return None
        try:
            return gguf.read_header(self.file)
        except (OSError, gguf.GGUFError):
            return None

    @property
    def capabilities(self) -> list[str]:
        """What the model can do, from its file, its config and its template."""
        found = []
        header = self.header
        if header:
            found.append("completion" if header.get("pooling_type") is None else "embedding")
            found += [k for k in ("vision", "audio") if header.get(f"{k}.block_count") is not None]
        found += [c for c in self.config.get("capabilities") or [] if c not in found]
        for word, variable in (("tools", "Tools"), ("insert", "Suffix")):
            if re.search(rf"{{{{[^}}]*[.$]{variable}\b", self.template):
                found.append(word)
        if self.projectors:
            found.append("vision")
        if "thinking" not in found and re.search(r"{{[^}]*\.Thinking\b", self.template):
            found.append("thinking")
        return found

    def details(self, *, parent: bool = False) -> gojson.Struct:
        """The `details` object of tags, show and ps; only show names the parent."""
        config = self.config
        families = config.get("model_families")
        return gojson.Struct(
            parent_model=self.parent if parent else "",
            format=config.get("model_format", ""),
            family=config.get("model_family", ""),
            families=families,
            parameter_size=config.get("model_type", ""),
            quantization_level=config.get("file_type", ""),
        )


def load(store: Store, name: names.Name) -> Model:
    """Read a model. Raises FileNotFoundError, ValueError."""
    manifest = store.load(name)
    config = gojson.decode(store.read(manifest.config)) if manifest.config.digest else {}
    model = Model(name, manifest, config)
    for layer in manifest.layers:
        path = store.blob(layer.digest)
        match layer.kind:
            case "model":
                model.file, model.parent = path, layer.parent
            case "adapter":
                model.adapters.append(path)
            case "projector":
                model.projectors.append(path)
            case "template" | "prompt":
                model.template = path.read_text("utf-8")
            case "system":
                model.system = path.read_text("utf-8")
            case "params":
                model.options |= gojson.decode(path.read_bytes()) or {}
            case "messages":
                model.messages = gojson.decode(path.read_bytes())
            case "license":
                model.licenses.append(path.read_text("utf-8"))
    return model


def tags_entry(model: Model, modified: int, generation: Generation) -> gojson.Struct:
    """One element of /api/tags; `modified` is nanoseconds since the epoch."""
    entry = gojson.Struct(
        name=model.name.shortest,
        model=model.name.shortest,
        modified_at=gotime.rfc3339(modified),
        size=model.manifest.size,
        digest=model.manifest.digest,
        details=model.details(),
    )
    header = model.header if generation.llama_server else None
    if header:
        entry["details"]["context_length"] = header.number("context_length")
        entry["details"]["embedding_length"] = header.number("embedding_length")
        entry["details"] = entry["details"].without_empty("context_length", "embedding_length")
        entry["capabilities"] = model.capabilities
    return entry
