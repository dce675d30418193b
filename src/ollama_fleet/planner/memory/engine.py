"""What differs between the two generations of Ollama's engine that a plan has to tell apart.

To 0.24 Ollama places the layers itself; from 0.30 it starts llama.cpp's server and passes `-ngl`. The numbers
0.25 to 0.29 were never released.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from ollama_fleet.artifacts.model_facts import ModelFacts

Generation = Literal["to-0.24", "from-0.30", "unknown"]
"""Where it is unknown, whatever needs more memory is charged."""

RECURRENT_CHECKPOINTS = 24
"""Snapshots of a recurrent state that the older engine keeps beside the state itself, per sequence."""

# The older engine keeps more of these models' windowed layers than the window: tokens kept.
_KEPT_TOKENS = {"gptoss": 4096, "gpt-oss": 4096, "gemma4": 4096}

# Architectures that releases to 0.24 run on Ollama's own engine, and on which of these with flash attention although
# nobody asked for it: both since 0.MINOR.PATCH (fs/ggml/ggml.go of every release from 0.9.0 to 0.24.0). All others
# run on the engine that is llama.cpp's.
_OWN_ENGINE: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(("gemma3", "llama4", "mistral3", "mllama", "qwen25vl"), (9, 0)),
        "gemma3n": (9, 3),
        **dict.fromkeys(("gptoss", "gpt-oss"), (11, 0)),
        "qwen3": (12, 0),
        "qwen3moe": (12, 2),
        **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), (12, 7)),
        **dict.fromkeys(("deepseek2", "deepseekocr"), (13, 0)),
        "nomic-bert": (13, 1),
        "olmo3": (13, 4),
        "bert": (13, 5),
        **dict.fromkeys(("glm4moelite", "lfm2"), (14, 3)),
        **dict.fromkeys(("glmocr", "qwen3next"), (15, 5)),
        **dict.fromkeys(("lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe"), (17, 1)),
        "gemma4": (20, 0),
        **dict.fromkeys(("laguna", "nemotron_h_omni"), (22, 0)),
    }
)
_FLASH_BY_DEFAULT: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(("gptoss", "gpt-oss"), (11, 8)),
        **dict.fromkeys(("qwen3", "qwen3moe"), (12, 4)),
        "gemma3": (12, 6),
        **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), (12, 8)),
        "mistral3": (13, 2),
        "olmo3": (13, 4),
        "bert": (13, 5),
        **dict.fromkeys(("glm4moelite", "lfm2"), (14, 3)),
        **dict.fromkeys(("glmocr", "qwen3next"), (15, 5)),
        **dict.fromkeys(("lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe"), (17, 1)),
        "gemma4": (20, 4),
        "nemotron_h_omni": (22, 0),
    }
)
_AUTOMATIC_FLASH = (13, 4)
"""Since then llama.cpp's engine chooses by itself: flash attention wherever the device can."""
_SEQUENCES_APART = (11, 8)
"""Since then llama.cpp's engine keeps the sequences' caches apart; Ollama's own has one for all."""
_TWO_STAGED = (12, 0)
"""Since about then two tensors of experts are copied over at a time, not one: published are 1024 MiB with tensors of
816 MiB (llama.cpp b5192), 898 with tensors of 384 (b6895)."""
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
    return "from-0.30" if _version(release) >= (0, 25, 0) else "to-0.24"


@lru_cache(maxsize=64)
def _version(release: str) -> tuple[int, int, int]:
    version = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:[.+-]|$)", release)
    if version is None:
        raise ValueError(f"{release!r} is no version of Ollama; write one such as 0.32.15")
    return int(version[1]), int(version[2]), int(version[3] or 0)


def _since(release: str | None, when: tuple[int, int] | None) -> bool:
    """Whether a release is 0.MINOR.PATCH or later; not where either is unknown."""
    return release is not None and when is not None and _version(release) >= (0, *when)


def flash_attention(facts: ModelFacts, release: str | None, asked: bool | None, supported: bool) -> bool:
    """Whether the engine computes attention in one fused step, where `asked` is what the environment says.

    Nothing asked: from 0.30 wherever the device can. Before, Ollama's own engine does for a list of architectures, and
    llama.cpp's since 0.13.4. Where the release is unknown, only what every release of the last time did.
    """
    generation = generation_of(release)
    if facts.architecture in _NEVER_FLASH and generation != "from-0.30":
        return False
    if asked is not None:
        return asked and supported
    if generation == "from-0.30":
        return supported
    listed = _FLASH_BY_DEFAULT.get(facts.architecture)
    if generation == "unknown":
        return supported and listed is not None
    own = own_engine(facts, release)
    return supported and _since(release, listed if own else _AUTOMATIC_FLASH)


def quantized_cache(facts: ModelFacts, release: str | None, asked: bool | None, supported: bool) -> bool:
    """Whether the engine takes a quantised cache.

    It needs flash attention; llama.cpp's engine to 0.24 even wants that asked for, and else keeps f16.
    """
    flash = flash_attention(facts, release, asked, supported)
    if generation_of(release) == "to-0.24" and not own_engine(facts, release):
        return flash and asked is True
    return flash


def own_engine(facts: ModelFacts, release: str | None) -> bool:
    """Whether a release to 0.24 runs a model on Ollama's own engine."""
    if generation_of(release) != "to-0.24":
        return False
    return _since(release, _OWN_ENGINE.get(facts.architecture))


def all_logits(facts: ModelFacts, release: str | None) -> bool:
    """Whether scores are prepared for every token of a batch.

    llama.cpp's engine to 0.24 does, since it is told to give embeddings as well; Ollama's own prepares those of one
    token for each sequence, as llama.cpp's server does (runner.go: `batch.Outputs`).
    """
    return generation_of(release) != "from-0.30" and not own_engine(facts, release)


def sequences_apart(facts: ModelFacts, release: str | None) -> bool:
    """Whether attention looks at one sequence's cache at a time, not at those of all of them."""
    generation = generation_of(release)
    if generation == "to-0.24":
        return not own_engine(facts, release) and _since(release, _SEQUENCES_APART)
    return generation == "from-0.30"


def staged_in_pairs(release: str | None) -> bool:
    """Whether two tensors of experts that stay on the host are copied to the GPU at a time, not one."""
    return release is None or _since(release, _TWO_STAGED)


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
