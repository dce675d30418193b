"""RAGFlow: two calls of its API, which add Ollama and then an instance of it with its models (0.27)."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ollama_fleet.outputs.clients.setting import Setting, key_of, provider_id, with_models
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW = "a script; RAGFLOW is the address of RAGFlow, RAGFLOW_API_KEY a key made there"
USUAL_CONTEXT = 8192
"""Tokens; what RAGFlow suggests, where only the host can tell."""


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One script for each host."""
    return [
        Setting.of(endpoint, "ragflow", "shell", HOW, _script(endpoint))
        for endpoint in with_models(endpoints)
    ]


def _script(endpoint: Endpoint) -> str:
    instance = {
        "instance_name": provider_id(endpoint),  # "default" is not allowed, and a host may have that name
        "base_url": endpoint.url,
        "api_key": key_of(endpoint),
        "region": "",
        "model_info": [_model(model) for model in endpoint.models],
    }
    return "\n".join(
        [
            _call("PUT", "/api/v1/providers", {"provider_name": "Ollama"}),
            _call("POST", "/api/v1/providers/Ollama/instances", instance),
        ]
    )


def _model(model: ServedModel) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_type": [model.kind],
        "max_tokens": model.num_ctx or USUAL_CONTEXT,
    }


def _call(method: str, path: str, body: dict[str, Any]) -> str:
    return (
        f'curl -fsS -X {method} "$RAGFLOW{path}" -H "Authorization: Bearer $RAGFLOW_API_KEY" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )
