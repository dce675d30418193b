"""Anything that speaks OpenAI's API: the variables its libraries read; and a line for curl."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ollama_fleet.outputs.clients.setting import Setting, key_of, shell_header
from ollama_fleet.outputs.endpoints import Endpoint, ServedModel

HOW_VARIABLES = "for the program's environment; the key is ignored, but must not be empty"
HOW_CURL = "a question and its answer, by Ollama's own API"


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """The variables for each host."""
    return [
        Setting.of(endpoint, "openai", "env", HOW_VARIABLES, _variables(endpoint))
        for endpoint in endpoints
        if endpoint.models
    ]


def curl_settings(endpoints: list[Endpoint]) -> list[Setting]:
    """A line for each model of each host."""
    return [
        Setting.of(endpoint, "curl", "shell", HOW_CURL, _curl(endpoint, model), model=model.name)
        for endpoint in endpoints
        for model in endpoint.models
    ]


def _variables(endpoint: Endpoint) -> str:
    return f"OPENAI_BASE_URL={endpoint.openai_url}\nOPENAI_API_KEY={key_of(endpoint)}"


def _curl(endpoint: Endpoint, model: ServedModel) -> str:
    body: dict[str, Any] = {"model": model.name}
    if model.kind == "embedding":
        path = "/api/embed"
        body["input"] = "Hello"
    else:
        path = "/api/chat"
        body |= {"messages": [{"role": "user", "content": "Hello"}], "stream": False}
    trust = f" --cacert {shlex.quote(endpoint.roots)}" if endpoint.roots else ""
    asked = f"{shlex.quote(endpoint.url + path)} -d {shlex.quote(json.dumps(body))}"
    return f"curl -fsS{trust}{shell_header(endpoint)} {asked}"
