"""Chatbox: a link that adds a provider with its models.

A provider of the OpenAI kind rather than the built-in `ollama`: only such a one brings its models along, and there
can be one for each host.
"""

from __future__ import annotations

from typing import Any

from ollama_fleet.outputs.clients.setting import Setting, key_of, packed, provider_id, with_models
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW = "open the link where Chatbox is installed, or scan its code with a phone"


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One link for each host."""
    return [
        Setting.of(endpoint, "chatbox", "link", HOW, link(endpoint), scan=not endpoint.loopback)
        for endpoint in with_models(endpoints)
    ]


def link(endpoint: Endpoint) -> str:
    """The link that Chatbox registers for."""
    provider = {
        "isCustom": True,
        "id": provider_id(endpoint),
        "name": endpoint.name,
        "type": "openai",
        "settings": {
            "apiHost": endpoint.openai_url,
            "apiKey": key_of(endpoint),
            "models": [_model(model) for model in endpoint.models],
        },
    }
    return f"chatbox://provider/import?config={packed(provider)}"


def _model(model: ServedModel) -> dict[str, Any]:
    told: dict[str, Any] = {"modelId": model.name}
    if model.kind != "chat":
        told["type"] = model.kind
    if model.vision:
        told["capabilities"] = ["vision"]
    if model.num_ctx is not None:
        told["contextWindow"] = model.num_ctx
    return told
