"""Open WebUI: environment variables that name all hosts; it lists their models by itself."""

from __future__ import annotations

import json

from ollama_fleet.outputs.clients.setting import Setting, key_of, with_models
from ollama_fleet.outputs.endpoints import Endpoint

HOW = (
    "a file for docker's --env-file; Open WebUI keeps what it read at its first start in its database, "
    "so the last line makes the variables count at every start"
)


def settings(endpoints: list[Endpoint]) -> list[Setting]:
    """One file for the fleet; with several hosts the models of each carry its name."""
    served = with_models(endpoints)
    if not served:
        return []
    several = len(served) > 1
    configs = {
        str(number): {
            "enable": True,
            **({"prefix_id": endpoint.name} if several else {}),
            **({"key": key_of(endpoint)} if endpoint.token else {}),
        }
        for number, endpoint in enumerate(served)
    }
    lines = [
        "ENABLE_OLLAMA_API=True",
        f"OLLAMA_BASE_URLS={';'.join(endpoint.url for endpoint in served)}",
        f"OLLAMA_API_CONFIGS={json.dumps(configs, separators=(',', ':'))}",
        "ENABLE_PERSISTENT_CONFIG=False",
    ]
    return [Setting("open-webui", "env", HOW, "\n".join(lines))]
