"""Dify: the fields of its Ollama plugin (langgenius/ollama), for each model."""

from __future__ import annotations

import json

from ollama_fleet.outputs.clients.setting import Setting, with_models
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW = "the fields of Settings, Model Provider, Ollama, Add Model"
LARGEST_ANSWER = 4096
"""Tokens: Dify's own suggestion for the upper bound of one answer."""


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """The fields for each model of each host; the plugin has none for a token, which a front door asks for."""
    return [
        Setting.of(endpoint, "dify", "json", HOW, _fields(endpoint, model), model=model.name)
        for endpoint in with_models(endpoints)
        if endpoint.token is None
        for model in endpoint.models
    ]


def _fields(endpoint: Endpoint, model: ServedModel) -> str:
    credentials = {"base_url": endpoint.url}
    if model.num_ctx is not None:
        credentials["context_size"] = str(model.num_ctx)
    if model.kind == "chat":
        credentials["mode"] = "chat"
        credentials["max_tokens"] = str(min(model.num_ctx or LARGEST_ANSWER, LARGEST_ANSWER))
        credentials["vision_support"] = "true" if model.vision else "false"
    document = {
        "model": model.name,
        "model_type": "llm" if model.kind == "chat" else "text-embedding",
        "credentials": credentials,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
