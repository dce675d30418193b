"""Continue, in an editor: a config.yaml with every model of the fleet."""

from __future__ import annotations

from typing import Any

import yaml

from ollama_fleet.outputs.clients.setting import Setting, key_of, with_models
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW = "~/.continue/config.yaml, or its list of models put into yours"


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One file for the fleet."""
    served = with_models(endpoints)
    if not served:
        return []
    models = [_model(endpoint, model) for endpoint in served for model in endpoint.models]
    document = {"name": "ollama-fleet", "version": "1.0.0", "schema": "v1", "models": models}
    return [Setting("continue", "yaml", HOW, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))]


def _model(endpoint: Endpoint, model: ServedModel) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": f"{model.name} on {endpoint.name}",
        "provider": "ollama",
        "model": model.name,
        "apiBase": endpoint.url,
        "roles": ["embed"] if model.kind == "embedding" else ["chat", "edit", "apply"],
    }
    if endpoint.token is not None:
        told["apiKey"] = key_of(endpoint)
    if model.num_ctx is not None and model.kind == "chat":
        told["defaultCompletionOptions"] = {"contextLength": model.num_ctx}
    return told
