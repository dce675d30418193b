"""What a server shows of its environment against what it was given."""

from __future__ import annotations

import pytest

from ollama_fleet.checks.server_config import go_seconds, not_understood
from ollama_sim.environ import Environment
from ollama_sim.gotime import format_duration
from ollama_sim.release import Generation


@pytest.mark.parametrize(
    "given",
    [
        {"OLLAMA_HOST": "0.0.0.0:11434"},
        {"OLLAMA_HOST": "[::]:11434"},
        {"OLLAMA_KEEP_ALIVE": "24h"},
        {"OLLAMA_KEEP_ALIVE": "-1"},
        {"OLLAMA_KEEP_ALIVE": "90"},
        {"OLLAMA_LOAD_TIMEOUT": "0"},
        {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_NOPRUNE": "0"},
        {"OLLAMA_DEBUG": "1"},
        {"OLLAMA_DEBUG": "0"},
        {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_NUM_PARALLEL": "4"},
        {"OLLAMA_MODELS": "/srv/ollama models/m"},
        {"OLLAMA_ORIGINS": "https://chat.example"},
        {"SOMETHING_ELSE": "x"},
    ],
)
@pytest.mark.parametrize("version", ["0.24.0", "0.32.15"])
def test_what_is_understood(given: dict[str, str], version: str) -> None:
    config = Environment(given | {"HOME": "/h"}).effective(Generation.of(version))
    assert not_understood(config, given) == []


@pytest.mark.parametrize(
    ("config", "given"),
    [
        ({"OLLAMA_NUM_PARALLEL": "1"}, {"OLLAMA_NUM_PARALLEL": "four"}),
        ({"OLLAMA_FLASH_ATTENTION": "true"}, {"OLLAMA_FLASH_ATTENTION": "0"}),
        ({"OLLAMA_HOST": "http://127.0.0.1:11434"}, {"OLLAMA_HOST": "0.0.0.0:11434"}),
        ({"OLLAMA_KEEP_ALIVE": "5m0s"}, {"OLLAMA_KEEP_ALIVE": "24h"}),
        ({"OLLAMA_KEEP_ALIVE": "5m0s"}, {"OLLAMA_KEEP_ALIVE": "-1"}),
        ({"OLLAMA_KV_CACHE_TYPE": ""}, {"OLLAMA_KV_CACHE_TYPE": "q8_0"}),
    ],
)
def test_what_is_not(config: dict[str, str], given: dict[str, str]) -> None:
    (text,) = not_understood(config, given)
    (name,) = given
    assert text.startswith(f"{name} is not in effect: set to {given[name]!r}")


@pytest.mark.parametrize("seconds", [0, 1, 59.5, 60, 3600, 86400, 90061])
def test_durations_as_go_prints_them(seconds: float) -> None:
    assert go_seconds(format_duration(round(seconds * 10**9))) == pytest.approx(seconds)
    assert go_seconds(f"{seconds} seconds") is None
