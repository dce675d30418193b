"""Client settings read back by the rules of the programs that they are for."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import numpy as np
import pytest
import yaml
import zxingcpp

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.hardware.catalogue import catalogue
from ollama_fleet.outputs.clients.every import CLIENTS, settings_for
from ollama_fleet.outputs.clients.setting import Setting
from ollama_fleet.outputs.endpoints import Endpoint, endpoints
from ollama_fleet.outputs.qr_code import image_of, terminal_code
from ollama_fleet.spec.fleet import Fleet

FLEET = """\
version: 1
release: {version: 0.32.15}
defaults:
  listen: 0.0.0.0:11434
  firewall: {allow_from: [192.168.1.0/24]}
models:
  reasoner:
    from: deepseek-r1:32b
    num_ctx: 8192
    per_gpu: {rtx-4060-ti-16gb: {num_gpu: 60, num_ctx: 4096}}
  team/coder:14b: {from: 'qwen2.5-coder:14b', num_ctx: 16384}
  search: {from: nomic-embed-text, num_ctx: 2048}
hosts:
  gpu-01: {address: 192.168.1.11, gpus: [rtx-4090], models: [reasoner, 'team/coder:14b']}
  gpu-02: {address: 'fd00:1::2', gpus: [rtx-4060-ti-16gb], models: [reasoner, search]}
  default: {address: gpu.lab.internal, listen: '0.0.0.0:8080', models: [reasoner]}
  alone: {address: 192.168.1.14, listen: '127.0.0.1:11434', firewall: {allow_from: []}, models: [reasoner]}
  idle: {address: 192.168.1.15}
"""
SERVED = ("gpu-01", "gpu-02", "default")
"""Hosts that serve something to others."""
CHATBOX = {
    "type": "object",
    "required": ["id", "name", "type", "settings"],
    "properties": {
        "isCustom": {"const": True},
        "id": {"type": "string"},
        "name": {"type": "string"},
        "type": {"enum": ["openai", "openai-responses", "anthropic"]},
        "settings": {
            "type": "object",
            "required": ["apiHost"],
            "properties": {
                "apiHost": {"type": "string"},
                "apiKey": {"type": "string"},
                "models": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["modelId"],
                        "properties": {
                            "modelId": {"type": "string"},
                            "type": {"enum": ["chat", "embedding", "rerank"]},
                            "capabilities": {
                                "type": "array",
                                "items": {"enum": ["vision", "reasoning", "tool_use"]},
                            },
                            "contextWindow": {"type": "number"},
                        },
                    },
                },
            },
        },
    },
}
"""What Chatbox's own schema asks of a provider that is not built in."""
BUILT_IN = {"ollama", "openai", "azure", "chatbox-ai", "claude", "gemini", "lm-studio", "deepseek", "groq"}


def found(text: str = FLEET) -> list[Endpoint]:
    return endpoints(Fleet.parse(text, catalogue().keys()).hosts, Lock())


def settings(client: str, text: str = FLEET) -> list[Setting]:
    return settings_for([client], found(text))


def in_query(link: str, name: str) -> str:
    (value,) = [value for key, value in parse_qsl(urlsplit(link).query) if key == name]
    return value


def decoded(packed: str) -> dict[str, Any]:
    # As a browser's atob: bytes become characters one by one.
    parsed: dict[str, Any] = json.loads(base64.b64decode(packed, validate=True).decode("latin-1"))
    return parsed


def env_file(text: str) -> dict[str, str]:
    """As docker's --env-file: everything behind the first = belongs to the value, quotes too."""
    lines = [line.partition("=") for line in text.splitlines()]
    return {name: value for name, _, value in lines}


def test_endpoints() -> None:
    assert [(one.host, one.url, one.reach) for one in found()] == [
        ("gpu-01", "http://192.168.1.11:11434", "192.168.1.0/24"),
        ("gpu-02", "http://[fd00:1::2]:11434", "192.168.1.0/24"),
        ("default", "http://gpu.lab.internal:8080", "192.168.1.0/24"),
        ("alone", "http://127.0.0.1:11434", "programs on alone itself"),
        ("idle", "http://192.168.1.15:11434", "192.168.1.0/24"),
    ]


def test_the_context_is_that_of_the_hosts_own_gpu_or_unknown() -> None:
    contexts = {(one.host, model.name): model.num_ctx for one in found() for model in one.models}

    assert contexts == {
        ("gpu-01", "reasoner"): 8192,
        ("gpu-01", "team/coder:14b"): 16384,
        ("gpu-02", "reasoner"): 4096,
        ("gpu-02", "search"): 2048,
        ("default", "reasoner"): None,  # 4096 or 8192, as the card turns out
        ("alone", "reasoner"): None,
    }


def test_what_only_embeds_is_told_apart() -> None:
    kinds = {model.name: model.kind for one in found() for model in one.models}
    assert kinds == {"reasoner": "chat", "team/coder:14b": "chat", "search": "embedding"}


def test_chatbox_reads_its_link() -> None:
    links = settings("chatbox")

    assert [one.host for one in links] == list(SERVED)
    for link in links:
        assert link.text.startswith("chatbox://provider/import?config=")
        provider = decoded(in_query(link.text, "config"))
        jsonschema.validate(provider, CHATBOX)
        assert provider["id"] not in BUILT_IN
    models = decoded(in_query(links[1].text, "config"))["settings"]
    assert models == {
        "apiHost": "http://[fd00:1::2]:11434/v1",
        "apiKey": "ollama",
        "models": [
            {"modelId": "reasoner", "contextWindow": 4096},
            {"modelId": "search", "type": "embedding", "contextWindow": 2048},
        ],
    }


def test_cherry_studio_reads_its_link() -> None:
    for link in settings("cherry-studio"):
        # It swaps the two letters of base64 that a query would change, and swaps them back after parsing.
        swapped = urlsplit(link.text)._replace(
            query=urlsplit(link.text).query.replace("+", "_").replace("/", "-")
        )
        data = in_query(swapped.geturl(), "data").replace("_", "+").replace("-", "/")
        provider = decoded(data)
        assert in_query(link.text, "v") == "1"
        assert set(provider) == {"id", "name", "type", "baseUrl", "apiKey"}
        assert all(isinstance(value, str) and value for value in provider.values())
        assert provider["type"] == "openai"
        assert provider["baseUrl"].endswith("/v1")


def test_open_webui_reads_its_variables() -> None:
    (setting,) = settings("open-webui")

    variables = env_file(setting.text)
    urls = variables["OLLAMA_BASE_URLS"].split(";")
    configs = json.loads(variables["OLLAMA_API_CONFIGS"])
    assert urls == ["http://192.168.1.11:11434", "http://[fd00:1::2]:11434", "http://gpu.lab.internal:8080"]
    assert [configs[str(index)]["prefix_id"] for index in range(len(urls))] == list(SERVED)
    assert variables["ENABLE_PERSISTENT_CONFIG"] == "False"


def test_one_host_needs_no_prefix() -> None:
    alone = FLEET.partition("  gpu-02:")[0]

    (setting,) = settings("open-webui", alone)

    assert json.loads(env_file(setting.text)["OLLAMA_API_CONFIGS"]) == {"0": {"enable": True}}


def test_dify_takes_words_for_everything() -> None:
    for setting in settings("dify"):
        document = json.loads(setting.text)
        assert document["model_type"] in {"llm", "text-embedding"}
        assert all(isinstance(value, str) for value in document["credentials"].values())
    by_place = {(one.host, one.model): json.loads(one.text)["credentials"] for one in settings("dify")}
    assert by_place["gpu-01", "team/coder:14b"] == {
        "base_url": "http://192.168.1.11:11434",
        "context_size": "16384",
        "mode": "chat",
        "max_tokens": "4096",
        "vision_support": "false",
    }
    assert set(by_place["gpu-02", "search"]) == {"base_url", "context_size"}


def shell_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """URL and body of each curl line, as a shell hands them over."""
    calls = []
    for line in text.splitlines():
        words = shlex.split(line)
        assert words[0] == "curl"
        (url,) = [word for word in words if "/api/" in word]
        calls.append((url, json.loads(words[words.index("-d") + 1])))
    return calls


def test_ragflow_gets_a_provider_and_an_instance_that_is_not_called_default() -> None:
    for setting in settings("ragflow"):
        (_, provider), (url, instance) = shell_calls(setting.text)
        assert provider == {"provider_name": "Ollama"}
        assert url == "$RAGFLOW/api/v1/providers/Ollama/instances"
        assert instance["instance_name"] != "default"
        assert all(model["model_type"] in (["chat"], ["embedding"]) for model in instance["model_info"])
        assert all(model["max_tokens"] > 0 for model in instance["model_info"])


def test_continue_reads_its_file() -> None:
    (setting,) = settings("continue")

    document = yaml.safe_load(setting.text)
    assert (document["schema"], type(document["version"])) == ("v1", str)
    assert [model["model"] for model in document["models"] if model["roles"] == ["embed"]] == ["search"]
    names = [model["name"] for model in document["models"]]
    assert len(set(names)) == len(names) == 5
    assert document["models"][0]["defaultCompletionOptions"] == {"contextLength": 8192}


def test_litellm_shares_load_between_hosts_that_serve_the_same() -> None:
    (setting,) = settings("litellm")

    listed = yaml.safe_load(setting.text)["model_list"]
    bases = [entry["litellm_params"]["api_base"] for entry in listed if entry["model_name"] == "reasoner"]
    assert bases == ["http://192.168.1.11:11434", "http://[fd00:1::2]:11434", "http://gpu.lab.internal:8080"]
    assert {entry["litellm_params"]["model"] for entry in listed} == {
        "ollama_chat/reasoner",
        "ollama_chat/team/coder:14b",
        "ollama/search",
    }


def test_variables_and_curl_are_there_for_a_host_that_only_serves_itself_too() -> None:
    variables = {one.host: env_file(one.text) for one in settings("openai")}
    assert variables["alone"] == {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "OPENAI_API_KEY": "ollama"}

    calls = {(one.host, one.model): shell_calls(one.text)[0] for one in settings("curl")}
    assert calls["gpu-02", "search"] == (
        "http://[fd00:1::2]:11434/api/embed",
        {"model": "search", "input": "Hello"},
    )
    assert calls["alone", "reasoner"][0] == "http://127.0.0.1:11434/api/chat"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_fleet_without_models_gives_nothing(client: str) -> None:
    assert settings(client, FLEET.partition("hosts:")[0] + "hosts:\n  idle: {address: 192.168.1.15}\n") == []


def read_code(modules: list[list[int]]) -> str:
    """What a QR reader sees; 1 is dark."""
    pixels = np.kron(1 - np.array(modules, dtype=np.uint8), np.ones((4, 4), dtype=np.uint8)) * 255
    (read,) = zxingcpp.read_barcodes(np.pad(pixels, 16, constant_values=255))
    return str(read.text)


def test_the_code_on_a_terminal_reads_as_the_link() -> None:
    link = settings("chatbox")[0].text

    drawn = terminal_code(link)

    assert drawn is not None
    assert len(drawn.splitlines()[0]) <= 80
    # Characters are light on a dark terminal: a full block is two light modules, a space two dark ones.
    halves: Mapping[str, tuple[int, int]] = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    rows = [[halves[letter][half] for letter in line] for line in drawn.splitlines() for half in (0, 1)]
    assert read_code(rows) == link


def test_what_is_too_long_has_no_code() -> None:
    assert terminal_code("x" * 2001) is None
    assert image_of("x" * 2001) is None
