"""The environment: each value as Ollama would read it, or refused."""

from __future__ import annotations

import pytest

from ollama_fleet.spec.env import parse_env, render_variable
from ollama_fleet.spec.errors import Wrong, WrongParts
from ollama_fleet.spec.values import parse_release_version
from ollama_fleet.spec.variables import VARIABLES, unread_by


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("OLLAMA_FLASH_ATTENTION", True, "1"),
        ("OLLAMA_FLASH_ATTENTION", False, "0"),
        ("OLLAMA_FLASH_ATTENTION", 1, "1"),
        ("OLLAMA_DEBUG", True, "1"),
        ("OLLAMA_DEBUG", 2, "2"),
        ("OLLAMA_KEEP_ALIVE", "24h", "24h"),
        ("OLLAMA_KEEP_ALIVE", -1, "-1"),
        ("OLLAMA_KEEP_ALIVE", 300, "300"),
        ("OLLAMA_NUM_PARALLEL", 4, "4"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0", "q8_0"),
        ("OLLAMA_GPU_OVERHEAD", "512MiB", "536870912"),
        ("OLLAMA_GPU_OVERHEAD", 1000, "1000"),
        ("OLLAMA_ORIGINS", ["http://a", "http://b:*"], "http://a,http://b:*"),
        ("OLLAMA_ORIGINS", "http://a,http://b", "http://a,http://b"),
        ("OLLAMA_ORIGINS", ["*"], "*"),
        (
            "OLLAMA_ORIGINS",
            ["chrome-extension://abc", "capacitor://*"],
            "chrome-extension://abc,capacitor://*",
        ),
        ("LLAMA_ARG_FIT", True, "on"),
        ("LLAMA_ARG_FIT", "off", "off"),
        ("LLAMA_ARG_FIT_TARGET", "2GiB", "2048"),
        ("LLAMA_ARG_FIT_TARGET", 512, "512"),
        ("LLAMA_ARG_THREADS", 8, "8"),
        ("CUDA_VISIBLE_DEVICES", 0, "0"),
        ("CUDA_VISIBLE_DEVICES", "0,1", "0,1"),
        ("CUDA_VISIBLE_DEVICES", [0, 1], "0,1"),
        ("CUDA_VISIBLE_DEVICES", "GPU-8f3b7a5e-1c2d", "GPU-8f3b7a5e-1c2d"),
        ("CUDA_VISIBLE_DEVICES", -1, "-1"),
        ("CUDA_VISIBLE_DEVICES", "", ""),
        ("HSA_OVERRIDE_GFX_VERSION", "10.3.0", "10.3.0"),
        ("HTTPS_PROXY", "http://proxy.lan:3128", "http://proxy.lan:3128"),
        ("https_proxy", "http://proxy.lan:3128", "http://proxy.lan:3128"),
        ("NO_PROXY", ["localhost", ".lan"], "localhost,.lan"),
        ("LD_LIBRARY_PATH", "/opt/x:/opt/y", "/opt/x:/opt/y"),
        ("GREETING", "no", "no"),
        ("LEVEL", 3, "3"),
    ],
)
def test_rendered(name: str, value: object, text: str) -> None:
    assert parse_env({name: value}) == {name: text}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("OLLAMA_FLASH_ATTENTION", word)
            for word in ("true", "no", "off", "1", "FALSE", "enabled", 2, "x", 1.0)
        ),
        ("OLLAMA_NUM_PARALLEL", "4"),
        ("OLLAMA_NUM_PARALLEL", True),
        ("OLLAMA_NUM_PARALLEL", -1),
        ("OLLAMA_KEEP_ALIVE", True),
        ("OLLAMA_KEEP_ALIVE", 1.5),
        ("OLLAMA_KV_CACHE_TYPE", True),
        ("OLLAMA_KV_CACHE_TYPE", "Q8_0"),
        ("OLLAMA_ORIGINS", ["a,b"]),
        ("OLLAMA_ORIGINS", [3]),
        ("OLLAMA_ORIGINS", "chat.lan"),
        ("OLLAMA_ORIGINS", "http://a, http://b"),
        ("OLLAMA_ORIGINS", "http://a,"),
        ("OLLAMA_ORIGINS", ["file:///home"]),
        ("OLLAMA_ORIGINS", ["http://*.*"]),
        ("LLAMA_ARG_FIT_TARGET", 1.5),
        ("LLAMA_ARG_FIT_TARGET", "1B"),
        ("CUDA_VISIBLE_DEVICES", "0;1"),
        ("CUDA_VISIBLE_DEVICES", [True]),
        ("HTTPS_PROXY", "proxy:3128"),
        ("https_proxy", "http://u:p@proxy:3128"),
        ("HF_TOKEN", "file:"),
        ("OLLAMA_KEEP_ALIVE", "env:KEEP"),
        ("GREETING", True),
        ("GREETING", 1.10),
        ("GREETING", "a\x00b"),
        ("GREETING", "a\rb"),
        ("GREETING", "a\x1bb"),
        ("GREETING", "a\u2028b"),
        ("GREETING", ["a"]),
        ("OLLAMA_HOST", "0.0.0.0"),
        ("OLLAMA_MODELS", "/srv"),
        ("OLLAMA_HOTS", "0.0.0.0"),
        ("ollama_debug", 1),
        ("OLLAMA_MAX_VRAM", 1),
        ("LLAMA_ARG_CTX_SIZE", 1),
        ("A B", "x"),
        ("1A", "x"),
        ("", "x"),
        ("A=B", "x"),
        ("Ä", "x"),
    ],
)
def test_refused(name: str, value: object) -> None:
    with pytest.raises(WrongParts):
        parse_env({name: value})


def test_null_stays_to_take_a_variable_back() -> None:
    assert parse_env({"OLLAMA_DEBUG": None}) == {"OLLAMA_DEBUG": None}


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(WrongParts) as caught:
        parse_env({"OLLAMA_HOTS": 1, "OLLAMA_DEBUG": 1, "OLLAMA_NUM_PARALLEL": "x"})

    assert [path for path, _ in caught.value.parts] == [("OLLAMA_HOTS",), ("OLLAMA_NUM_PARALLEL",)]


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_no_variable_takes_a_line_break(name: str) -> None:
    with pytest.raises(Wrong):
        render_variable(name, "a\nb")


@pytest.mark.parametrize(
    ("name", "value", "release", "read"),
    [
        ("OLLAMA_NO_CLOUD", "1", "0.16.1", False),
        ("OLLAMA_NO_CLOUD", "1", "0.16.2", True),
        ("OLLAMA_NEW_ENGINE", "1", "0.24.0", True),
        ("OLLAMA_NEW_ENGINE", "1", "0.30.0-rc1", False),
        ("OLLAMA_NEW_ESTIMATES", "1", "0.11.10", True),
        ("OLLAMA_NEW_ESTIMATES", "1", "0.11.11", False),
        ("OLLAMA_KV_CACHE_TYPE", "q5_1", "0.24.0", False),
        ("OLLAMA_KV_CACHE_TYPE", "q5_1", "0.30.0", True),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0", "0.9.0", True),
        ("GREETING", "x", "0.9.0", True),
    ],
)
def test_releases_that_read_a_variable(name: str, value: str, release: str, read: bool) -> None:
    assert (unread_by(name, value, parse_release_version(release)) is None) is read
