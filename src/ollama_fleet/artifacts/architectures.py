"""What has to be known of an architecture beyond its file: which of its layers attend to a window only.

A file may say it (`attention.sliding_window_pattern`); for most architectures the engines have it built in.
An architecture that is not listed here is computed as if every layer attended to everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["WindowPattern", "is_known", "windowed_layers"]


@dataclass(frozen=True, slots=True)
class WindowPattern:
    """Every `period`-th layer attends to everything, the others to a window.

    The full layer is the last of each period, or the first where `full_first`. A period of 0 means that only
    the file can say it. `default_window` is in tokens, for files that do not give the window.
    """

    period: int
    full_first: bool = False
    default_window: int = 0


# As the engines have it (llama.cpp's loaders; Ollama's own engine agrees where it has the model).
_WINDOWED = MappingProxyType(
    {
        "afmoe": WindowPattern(4),
        "cohere2": WindowPattern(4),
        "exaone-moe": WindowPattern(4),
        "exaone4": WindowPattern(4),
        "gemma-embedding": WindowPattern(6),
        "gemma2": WindowPattern(2, default_window=4096),
        "gemma3": WindowPattern(6),
        "gemma3n": WindowPattern(5),
        "gemma4": WindowPattern(0),
        "gpt-oss": WindowPattern(2),
        "gptoss": WindowPattern(2),
        "laguna": WindowPattern(4, full_first=True),
        "llama4": WindowPattern(4, default_window=8192),
        "mellum": WindowPattern(4, full_first=True),
        "mimo2": WindowPattern(0),
        "modern-bert": WindowPattern(3, full_first=True),
        "olmo2": WindowPattern(4),
        "olmo3": WindowPattern(4),
        "plamo3": WindowPattern(8),
        "smallthinker": WindowPattern(4, full_first=True),
        "step35": WindowPattern(0),
    }
)

# Those whose every attention layer has the whole context, whatever `attention.sliding_window` says: the
# engines do not use it for them. Recurrent layers show in the tensors.
_PLAIN_NAMES = """
    apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bert bloom chatglm codeshell cogvlm command-r
    dbrx deci deepseek deepseek2 dots1 ernie4_5 ernie4_5-moe exaone falcon falcon-h1 gemma glm4 glm4moe gpt2
    gptneox granite granitehybrid granitemoe grok hunyuan-dense hunyuan-moe internlm2 jamba jina-bert-v2
    jina-bert-v3 lfm2 lfm2moe llama mamba mamba2 minicpm minicpm3 minimax-m2 mistral3 mixtral mpt nemotron
    nemotron_h nemotron_h_moe nomic-bert nomic-bert-moe olmo olmoe orion phi2 phi3 phimoe plamo plamo2 plm
    qwen qwen2 qwen25vl qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3vl qwen3vlmoe refact
    rwkv6 rwkv6qwen2 rwkv7 seed_oss smollm3 stablelm starcoder starcoder2 xverse
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())


def is_known(architecture: str) -> bool:
    """Whether it is known which layers of this architecture attend to what."""
    return architecture in _PLAIN or architecture in _WINDOWED


def windowed_layers(
    architecture: str, layers: int, window: int | None, pattern: int | Sequence[int] | None
) -> tuple[int, tuple[bool, ...]]:
    """The window in tokens (0 where there is none), and for each layer whether it has it.

    `window` and `pattern` are what the file says; a pattern is a period, or one item per layer.
    """
    full = (False,) * layers
    known = _WINDOWED.get(architecture)
    if known is None:
        return 0, full
    window = window if window is not None else known.default_window
    if not window:
        return 0, full
    if isinstance(pattern, Sequence):
        if len(pattern) < layers:
            return 0, full
        flags = tuple(bool(item) for item in pattern[:layers])
    else:
        period = known.period if pattern is None else pattern
        place = 0 if known.full_first else period - 1
        flags = tuple(layer % period != place for layer in range(layers)) if period else full
    return (window, flags) if any(flags) else (0, full)
