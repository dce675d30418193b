"""All clients by the name that the command takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ollama_fleet.outputs.clients import (
    chatbox,
    cherry_studio,
    continue_dev,
    dify,
    litellm,
    open_webui,
    openai_api,
    ragflow,
)
from ollama_fleet.outputs.clients.setting import Setting
from ollama_fleet.outputs.endpoints import Endpoint

CLIENTS: Mapping[str, Callable[[list[Endpoint]], list[Setting]]] = MappingProxyType(
    {
        "chatbox": chatbox.settings,
        "open-webui": open_webui.settings,
        "dify": dify.settings,
        "ragflow": ragflow.settings,
        "continue": continue_dev.settings,
        "litellm": litellm.settings,
        "cherry-studio": cherry_studio.settings,
        "openai": openai_api.settings,
        "curl": openai_api.curl_settings,
    }
)


def settings_for(names: Sequence[str], endpoints: list[Endpoint]) -> list[Setting]:
    """The settings of some clients, in the order of the names. Raises KeyError for a name that is none."""
    return [setting for name in names for setting in CLIENTS[name](endpoints)]


def clients_document(endpoints: list[Endpoint], settings: Sequence[Setting]) -> dict[str, Any]:
    """The JSON of `clients`, version 1."""
    return {
        "version": 1,
        "endpoints": [
            {
                "host": endpoint.host,
                "instance": endpoint.instance or None,
                "url": endpoint.url,
                "reach": endpoint.reach,
                "complete": endpoint.complete,
                "models": [
                    {
                        "name": model.name,
                        "num_ctx": model.num_ctx,
                        "kind": model.kind,
                        "vision": model.vision,
                    }
                    for model in endpoint.models
                ],
            }
            for endpoint in endpoints
        ],
        "settings": [setting.to_dict() for setting in settings],
    }
