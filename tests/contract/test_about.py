"""What a server says about itself: version, banner, start lines, list."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.server import Server, free_port

pytestmark = pytest.mark.contract
Start = Callable[..., AbstractContextManager[Server]]


def test_root_is_a_banner_for_get_and_head(server: Server) -> None:
    assert server.http.get("/").text == "Ollama is running"
    head = server.http.head("/")
    assert (head.status_code, head.text) == (200, "")


def test_version_is_the_bare_number(server: Server) -> None:
    assert server.get("/api/version") == {"version": server.flavour.version}
    assert server.http.head("/api/version").status_code == 200


def test_unknown_paths_and_methods(server: Server) -> None:
    assert server.http.get("/api/nothing").status_code == 404
    assert server.http.get("/api/pull").status_code == 405


def test_cloud_status_names_where_it_was_switched_off(server: Server) -> None:
    assert server.get("/api/status") == {"cloud": {"disabled": True, "source": "env"}}


def test_an_empty_server_lists_nothing(server: Server) -> None:
    assert server.get("/api/tags") == {"models": []}
    assert server.get("/api/ps") == {"models": []}


def test_a_host_name_from_elsewhere_is_refused_on_loopback(server: Server) -> None:
    assert server.http.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert server.http.get("/", headers={"Host": "box.local:1"}).status_code == 200
    assert server.http.get("/", headers={"Host": "192.168.7.9"}).status_code == 200


def test_list_shows_the_latest_first_and_what_it_holds(start: Start, weights: Path) -> None:
    with start() as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        server.create("copy", **{"from": "tiny"})
        for name, second in (("tiny", 1_700_000_000), ("copy", 1_700_000_100)):
            os.utime(server.manifest_path(name), (second, second))
    with start() as server:
        listed = server.get("/api/tags")["models"]
    assert [model["name"] for model in listed] == ["copy:latest", "tiny:latest"]
    entry = listed[1]
    assert entry["model"] == entry["name"]
    assert entry["modified_at"].startswith("2023-11-14T22:13:20")
    assert entry["size"] > 237_000
    details = {key: entry["details"][key] for key in ("format", "family", "families", "parameter_size")}
    assert details == {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "114K"}
    assert entry["details"]["quantization_level"] == "F16"
    newer = ["capabilities"] if server.flavour.llama_server else []
    assert list(entry) == ["name", "model", "modified_at", "size", "digest", "details", *newer]


@pytest.mark.from_0_30
def test_list_looks_at_a_manifest_again_only_when_its_bytes_change(server: Server, tiny: str) -> None:
    before = server.listed()["tiny:latest"]["modified_at"]
    os.utime(server.manifest_path(tiny), (1_700_000_000, 1_700_000_000))
    assert server.listed()["tiny:latest"]["modified_at"] == before


@pytest.mark.from_0_30
def test_list_tells_context_and_capabilities(server: Server, tiny: str) -> None:
    entry = server.listed()["tiny:latest"]
    assert entry["details"]["context_length"] == 512
    assert entry["details"]["embedding_length"] == 64
    assert entry["capabilities"] == ["completion"]


def test_the_effective_settings_are_in_the_log(start: Start) -> None:
    given = {
        "OLLAMA_KEEP_ALIVE": '"24h"',
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_SCHED_SPREAD": "no",
        "OLLAMA_MAX_QUEUE": "many",
        "OLLAMA_CONTEXT_LENGTH": "8192",
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
    }
    with start(**given) as server:
        settings = effective(server)
    assert settings["OLLAMA_HOST"] == server.url
    assert settings["OLLAMA_MODELS"] == str(server.models)
    assert settings["OLLAMA_KEEP_ALIVE"] == "24h0m0s"
    assert settings["OLLAMA_NUM_PARALLEL"] == "2"
    assert settings["OLLAMA_FLASH_ATTENTION"] == "true"
    assert settings["OLLAMA_SCHED_SPREAD"] == "true", "whatever is no word for false is true"
    assert settings["OLLAMA_MAX_QUEUE"] == "512", "what is no number is the default"
    assert settings["OLLAMA_CONTEXT_LENGTH"] == "8192"
    assert settings["OLLAMA_KV_CACHE_TYPE"] == "q8_0"
    assert settings["OLLAMA_LOAD_TIMEOUT"] == "5m0s"
    assert list(settings) == sorted(settings)


def test_a_negative_keep_alive_is_for_ever(start: Start) -> None:
    with start(OLLAMA_KEEP_ALIVE="-1") as server:
        assert effective(server)["OLLAMA_KEEP_ALIVE"] == "2562047h47m16.854775807s"


@pytest.mark.to_0_24
def test_settings_of_the_generation_to_0_24(start: Start) -> None:
    with start() as server:
        settings = effective(server)
    assert {"OLLAMA_NEW_ENGINE", "OLLAMA_MULTIUSER_CACHE"} <= set(settings)
    assert settings["OLLAMA_VULKAN"] == "false"


@pytest.mark.from_0_30
def test_settings_of_the_generation_from_0_30(start: Start) -> None:
    with start() as server:
        settings = effective(server)
    assert {"LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET", "OLLAMA_IGPU_ENABLE"} <= set(settings)
    assert settings["OLLAMA_VULKAN"] == "true"


def test_the_start_says_where_it_listens_and_what_it_computes_on(start: Start) -> None:
    with start(CUDA_VISIBLE_DEVICES="-1") as server:
        version = server.flavour.version
        assert "level=INFO source=routes.go:" in server.log
        assert f'msg="Listening on 127.0.0.1:{server.port} (version {version})"' in server.log
        line = next(line for line in server.log.splitlines() if 'msg="inference compute"' in line)
        assert " library=cpu " in line
        assert re.search(r' total="\d+\.\d GiB" available="\d+\.\d GiB"$', line)
        assert 'msg="vram-based default context" total_vram="0 B" default_num_ctx=4096' in server.log


@pytest.mark.parametrize("host", ["0.0.0.0:{port}", "[::]:{port}", ":{port}", "http://0.0.0.0:{port}/"])
def test_every_unspecified_address_means_both_families(start: Start, host: str) -> None:
    port = free_port()
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with start(port=port, OLLAMA_HOST=host.format(port=port)) as server:
        assert f"Listening on [::]:{port} " in server.log
        for loopback in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{loopback}:{port}/", trust_env=False).text == "Ollama is running"
        foreign = httpx.get(f"{server.url}/", headers={"Host": "evil.example"}, trust_env=False)
        assert foreign.status_code == 200, "the filter on host names is for loopback only"


def test_one_address_is_only_that_address(start: Start) -> None:
    port = free_port()
    with start(port=port, OLLAMA_HOST=f"127.0.0.1:{port}"), socket.socket() as other:
        other.bind(("127.0.0.2", port))


def test_a_taken_port_ends_the_program_with_a_reason(start: Start, flavour: Any) -> None:
    with start() as server:
        second = server.cli("serve")
    assert second.returncode == 1
    assert second.stderr.endswith(
        f"Error: listen tcp 127.0.0.1:{server.port}: bind: address already in use\n"
    )


def test_a_signal_ends_the_program_in_peace(start: Start) -> None:
    with start() as server:
        assert server.stop() == 0


def effective(server: Server) -> dict[str, str]:
    """The variables of the line "server config"."""
    found = re.search(r'msg="server config" env="map\[(.*)\]"', server.log)
    assert found, server.log
    pairs = re.findall(r"(\w+):(\[[^\]]*\]|\S*)", found[1])
    return dict(pairs)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
