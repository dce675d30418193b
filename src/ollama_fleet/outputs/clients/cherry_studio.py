"""Cherry Studio: a link that adds a provider; models are fetched there by a button."""

from __future__ import annotations

from ollama_fleet.outputs.clients.setting import Setting, key_of, packed, provider_id, with_models
from ollama_fleet.outputs.endpoints import Endpoint

HOW = "open the link where Cherry Studio is installed, then press Manage to fetch the models"


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One link for each host."""
    return [
        Setting.of(endpoint, "cherry-studio", "link", HOW, link(endpoint))
        for endpoint in with_models(endpoints)
    ]


def link(endpoint: Endpoint) -> str:
    """The link that Cherry Studio registers for; none of its values may be empty."""
    provider = {
        "id": provider_id(endpoint),
        "name": endpoint.name,
        "type": "openai",
        "baseUrl": endpoint.openai_url,
        "apiKey": key_of(endpoint),
    }
    return f"cherrystudio://providers/api-keys?v=1&data={packed(provider)}"
