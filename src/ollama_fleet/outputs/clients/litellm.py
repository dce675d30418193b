"""LiteLLM: a config.yaml in which a model that several hosts serve has one name, so that they share its load."""

from __future__ import annotations

from typing import Any

import yaml

from ollama_fleet.outputs.clients.setting import Setting, key_of, with_models
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW = "litellm --config config.yaml"


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One file for the fleet."""
    models = [_model(endpoint, model) for endpoint in with_models(endpoints) for model in endpoint.models]
    if not models:
        return []
    text = yaml.safe_dump({"model_list": models}, sort_keys=False, allow_unicode=True)
    return [Setting("litellm", "yaml", HOW, text)]


def _model(endpoint: Endpoint, model: ServedModel) -> dict[str, Any]:
    route = "ollama_chat" if model.kind == "chat" else "ollama"
    parameters = {"model": f"{route}/{model.name}", "api_base": endpoint.url}
    if endpoint.token is not None:
        known = endpoint.token.kind == "env"
        parameters["api_key"] = f"os.environ/{endpoint.token.name}" if known else key_of(endpoint)
    told: dict[str, Any] = {"model_name": model.name, "litellm_params": parameters}
    if model.kind == "embedding":
        told["model_info"] = {"mode": "embedding"}
    return told
