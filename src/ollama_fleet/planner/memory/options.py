"""What is asked of one placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from ollama_fleet.artifacts.model_facts import ModelFacts

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
NumGpu = int | Literal["auto", "engine", "all"]

KV_BLOCKS: Mapping[KvType, tuple[int, int]] = MappingProxyType(
    {
        "f32": (1, 4),
        "f16": (1, 2),
        "bf16": (1, 2),
        "q8_0": (32, 34),
        "q5_1": (32, 24),
        "q5_0": (32, 22),
        "q4_1": (32, 20),
        "q4_0": (32, 18),
        "iq4_nl": (32, 18),
    }
)
"""Elements of a block and its bytes, for the types that a cache can have (ggml's block formats)."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """One placement, asked for.

    - `num_ctx`: tokens of one sequence; `num_parallel` sequences have as many each.
    - `num_gpu`: layers on the GPU, the output counting as one; `auto` is as many as fit, `engine` leaves it to
      the engine, which is predicted as `auto`; `all` is every layer, whether it fits or not. Where it is no number,
      layers are moved between GPUs until they fit, as the engine does.
    - `num_batch`: tokens worked off at once (llama.cpp's u-batch); None is the engine's own choice.
    - `kv_type_k`, `kv_type_v`: of the cache. A quantised V needs flash attention.
    - `flash_attention`: None is the engine's own choice.
    - `release`: version of Ollama; None charges whatever needs more.
    - `cpu_experts`: keep the experts of so many layers, counted from the first, in host memory.
    - `spread`: use every GPU even where one would do (OLLAMA_SCHED_SPREAD).
    - `unified`: the sequences share one cache of `num_ctx` tokens, as llama.cpp's server does when nobody gives it
      their number; Ollama never does.
    - `draft`: a model of its own that drafts; `nextn`: use the model's own drafting layers.
    - `all_logits`: the engine prepares scores for every token of a batch, as tools that measure perplexity and
      servers before 0.30 do; None follows the release.
    """

    num_ctx: int = 4096
    num_gpu: NumGpu = "auto"
    num_batch: int | None = None
    num_parallel: int = 1
    kv_type_k: KvType = "f16"
    kv_type_v: KvType = "f16"
    flash_attention: bool | None = None
    release: str | None = None
    cpu_experts: int = 0
    spread: bool = False
    unified: bool = False
    draft: ModelFacts | None = None
    nextn: bool = False
    all_logits: bool | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what no engine takes."""
        if self.num_ctx < 1 or self.num_parallel < 1 or (self.num_batch is not None and self.num_batch < 1):
            raise ValueError("num_ctx, num_parallel and num_batch are at least 1")
        if isinstance(self.num_gpu, int) and self.num_gpu < 0:
            raise ValueError("num_gpu is the number of layers on the GPU: 0 or more, auto, or engine")
        for kv_type in (self.kv_type_k, self.kv_type_v):
            if kv_type not in KV_BLOCKS:
                raise ValueError(f"{kv_type!r} is no type of cache; there are {', '.join(get_args(KvType))}")
