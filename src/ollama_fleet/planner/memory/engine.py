"""What differs between the two generations of Ollama's engine that a plan has to tell apart.

To 0.24 Ollama places the layers itself; from 0.30 it starts llama.cpp's server and passes `-ngl`. The numbers
0.25 to 0.29 were never released.
"""

from __future__ import annotations

import re
from typing import Literal

from ollama_fleet.artifacts.model_facts import ModelFacts

Generation = Literal["to-0.24", "from-0.30", "unknown"]
"""Where it is unknown, whatever needs more memory is charged."""

RECURRENT_CHECKPOINTS = 24
"""Snapshots of a recurrent state that the older engine keeps beside the state itself, per sequence."""

# The older engine keeps more of these models' windowed layers than the window: tokens kept.
_KEPT_TOKENS = {"gptoss": 4096, "gpt-oss": 4096, "gemma4": 4096}

# What the older engine runs with flash attention although nobody asked for it.
_FLASH_BY_DEFAULT = frozenset(
    [
        "bert",
        "gemma3",
        "gemma4",
        "glm4moelite",
        "glmocr",
        "gpt-oss",
        "gptoss",
        "lfm2",
        "lfm2moe",
        "mistral3",
        "nemotron_h",
        "nemotron_h_moe",
        "nemotron_h_omni",
        "olmo3",
        "qwen3",
        "qwen35",
        "qwen35moe",
        "qwen3moe",
        "qwen3next",
        "qwen3vl",
        "qwen3vlmoe",
    ]
)
_NEVER_FLASH = frozenset({"gemma2", "grok"})
_ONE_SEQUENCE = frozenset(
    [
        "lfm2",
        "lfm2moe",
        "mllama",
        "nemotron_h",
        "nemotron_h_moe",
        "nemotron_h_omni",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "qwen3vl",
        "qwen3vlmoe",
    ]
)


def generation_of(release: str | None) -> Generation:
    """The generation of a release, from its version (`0.32.15`, `v0.9.6-rc0`); None is unknown.

    Raises:
        ValueError: that is no version.
    """
    if release is None:
        return "unknown"
    version = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:[.+-]|$)", release)
    if version is None:
        raise ValueError(f"{release!r} is no version of Ollama; write one such as 0.32.15")
    return "from-0.30" if (int(version[1]), int(version[2])) >= (0, 25) else "to-0.24"


def flash_attention(facts: ModelFacts, generation: Generation, asked: bool | None, supported: bool) -> bool:
    """Whether the engine computes attention in one fused step, where `asked` is what the environment says.

    Nothing asked: from 0.30 wherever the device can, before for a list of architectures only.
    """
    if facts.architecture in _NEVER_FLASH and generation != "from-0.30":
        return False
    if asked is not None:
        return asked and supported
    if generation == "from-0.30":
        return supported
    return supported and facts.architecture in _FLASH_BY_DEFAULT


def sequences(facts: ModelFacts, generation: Generation, num_parallel: int) -> int:
    """The sequences that Ollama really serves at once: some families get one, whatever is asked."""
    return 1 if facts.architecture in _ONE_SEQUENCE and generation != "unknown" else num_parallel


def kept_tokens(facts: ModelFacts, generation: Generation) -> int:
    """The least number of tokens that a windowed layer keeps, beyond its window."""
    return 0 if generation == "from-0.30" else _KEPT_TOKENS.get(facts.architecture, 0)


def automatic_batch(num_ctx: int, generation: Generation) -> int:
    """`num_batch` where nobody gave it.

    Releases from 0.30 work a prompt off in larger pieces for larger contexts, and the compute buffer grows with
    them. They step back where memory is short; that is not counted on here, or a larger context could seem to
    need less. So a plan that must hold writes `num_batch` down.
    """
    if generation == "to-0.24":
        return 512
    return 2048 if num_ctx > 32768 else 1024 if num_ctx > 4096 else 512
