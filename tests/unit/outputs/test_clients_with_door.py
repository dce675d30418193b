"""Client settings behind a front door: its URL, and where the token is found."""

from __future__ import annotations

import json

import pytest
import yaml

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.outputs.clients.every import CLIENTS, settings_for
from ollama_fleet.outputs.endpoints import Endpoint, endpoints
from ollama_fleet.spec.fleet import Fleet


def behind(token: str, **access: object) -> list[Endpoint]:
    document = {
        "version": 1,
        "release": {"version": "0.32.15"},
        "models": {"m": {"from": "qwen3:8b", "num_ctx": 4096}},
        "hosts": {
            "gpu-01": {
                "address": "192.168.1.11",
                "models": ["m"],
                "access": {"tokens": {"me": token}, **access},
            }
        },
    }
    return endpoints(Fleet.parse(json.dumps(document)).hosts, Lock())


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "dify"])
def test_each_client_is_told_the_door(client: str) -> None:
    found = behind("env:MY_TOKEN")
    assert found[0].reachable
    (setting, *_) = settings_for([client], found)
    if setting.form == "link":
        return  # packed; what is in it is read back in test_clients
    assert "https://192.168.1.11:11443" in setting.text
    assert "MY_TOKEN" in setting.text


def test_where_a_client_looks_itself() -> None:
    (curl,) = settings_for(["curl"], behind("env:MY_TOKEN"))
    assert ' -H "Authorization: Bearer ${MY_TOKEN}" ' in curl.text
    (curl,) = settings_for(["curl"], behind("file:my token"))
    assert " -H \"Authorization: Bearer $(cat 'my token')\" " in curl.text
    (litellm,) = settings_for(["litellm"], behind("env:MY_TOKEN"))
    (model,) = yaml.safe_load(litellm.text)["model_list"]
    assert model["litellm_params"]["api_key"] == "os.environ/MY_TOKEN"


def test_the_url_is_the_one_that_clients_use() -> None:
    assert behind("env:X", names=["gpu.lan"])[0].url == "https://gpu.lan:11443"
    assert behind("env:X", tls="none", listen="0.0.0.0:80")[0].url == "http://192.168.1.11:80"
    assert behind("env:X", listen="[fd00::1]:9", names=["fd00::1"])[0].url == "https://[fd00::1]:9"


def test_the_root_of_an_authority_of_ones_own_is_named() -> None:
    access = {"tls": "acme", "listen": "[::]:443", "names": ["gpu.example.org"]}
    (curl,) = settings_for(["curl"], behind("env:X", **access))
    assert "https://gpu.example.org:443/api/chat" in curl.text
    assert "--cacert" not in curl.text
    acme = {"server": "https://ca.lan/acme/directory", "ca": "/etc/our root.pem"}
    (curl,) = settings_for(["curl"], behind("env:X", **access, acme=acme))
    assert " --cacert '/etc/our root.pem' " in curl.text


def test_a_program_without_a_field_for_a_token_is_left_out() -> None:
    assert settings_for(["dify"], behind("env:X")) == []
