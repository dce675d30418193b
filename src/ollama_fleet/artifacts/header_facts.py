"""From the header of a model to its facts: which tensors belong together, and what each layer is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from ollama_fleet.artifacts.architectures import is_known, windowed_layers
from ollama_fleet.artifacts.facts_json import FactsError
from ollama_fleet.artifacts.ggml_types import file_type_name
from ollama_fleet.artifacts.gguf_reader import GgufError, Header
from ollama_fleet.artifacts.layer_tensors import MAX_LAYERS, TOKEN_EMBD, LayerTensors, sort_tensors
from ollama_fleet.artifacts.model_facts import (
    Attention,
    Experts,
    Latent,
    LayerRun,
    ModelFacts,
    Projector,
    Recurrent,
)
from ollama_fleet.spec.errors import show

__all__ = ["facts_of_header", "projector_of_header"]

# gemma3n's later layers read the caches of the first 20; files made early do not say so.
_GEMMA3N_OWN_CACHES = 20


def facts_of_header(header: Header, file_bytes: int = 0) -> ModelFacts:
    """The facts of a language model.

    Raises:
        GgufError: when the header is of something else, or does not say what every model's does.
    """
    architecture = header.text("general.architecture") or ""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", architecture):
        raise GgufError(f"general.architecture is {show(architecture)}, which names none")
    if architecture in {"clip", "mmproj"} or header.text("general.type") == "mmproj":
        raise GgufError("this is a projector (for images or sound), not a model; give the model's own file")
    if header.text("general.type") == "adapter":
        raise GgufError("this is an adapter (LoRA), not a model; give the base model's file")
    facts = _Model(header, architecture).facts(file_bytes)
    try:  # no number of a hostile file gets past this that the lock would not take
        return ModelFacts.from_dict(facts.to_dict())
    except FactsError as error:
        raise GgufError(f"its numbers make no sense: {error.reason}") from None


def projector_of_header(header: Header, file_bytes: int) -> Projector:
    """A projector in a file of its own."""
    kinds = (header.text(f"clip.{part}projector_type") for part in ("", "vision.", "audio."))
    kind = next((found for found in kinds if found and found.isprintable()), "")
    return Projector(sum(tensor.size for tensor in header.tensors), file_bytes, kind[:_MAX_LABEL])


_MAX_LABEL = 100


class _Model:
    """One header being made into facts."""

    def __init__(self, header: Header, architecture: str) -> None:
        self.header = header
        self.architecture = architecture
        self.groups, tensors = sort_tensors(header.tensors)
        self.nextn = self.number("nextn_predict_layers")
        self.blocks = self._blocks(tensors)
        count = len(self.blocks)
        self.embedding = self.number("embedding_length")
        self.heads = self.each("attention.head_count", count) or (0,) * count
        self.kv_heads = self.each("attention.head_count_kv", count) or self.heads
        most_heads = max(self.heads, default=0)
        per_head = self.embedding // most_heads if most_heads else 0
        self.key_length = self.number("attention.key_length", per_head)
        self.value_length = self.number("attention.value_length", per_head)
        self.latent = self._latent()

    def number(self, key: str, default: int = 0) -> int:
        """A number of the architecture; of an array the largest."""
        found = self.header.number(f"{self.architecture}.{key}")
        if found is None and (items := self.header.numbers(f"{self.architecture}.{key}")):
            found = max(items)
        return default if found is None else found

    def each(self, key: str, count: int) -> tuple[int, ...]:
        """A number for each layer, from an array or from one for all; nothing where there is neither."""
        items = self.header.numbers(f"{self.architecture}.{key}")
        if items:
            return items[:count] + (items[-1],) * (count - len(items))
        one = self.header.number(f"{self.architecture}.{key}")
        return () if one is None else (one,) * count

    def _blocks(self, found: dict[int, LayerTensors]) -> list[LayerTensors]:
        """All layers in order, also one without tensors."""
        told = self.number("block_count")
        if told > MAX_LAYERS:
            raise GgufError(f"{self.architecture}.block_count is {told}; at most {MAX_LAYERS} are supported")
        if not told and not found:
            raise GgufError(f"it has no layers: {self.architecture}.block_count is missing")
        last = max(found, default=-1) + 1
        if told and last > told:  # drafting layers that the count leaves out
            self.nextn = max(self.nextn, last - told)
        count = max(last, told)
        self.nextn = min(self.nextn, count)
        return [found.get(index, LayerTensors()) for index in range(count)]

    def facts(self, file_bytes: int) -> ModelFacts:
        """Everything together."""
        runs = tuple(_runs(self._layers()))
        groups = self.groups
        return ModelFacts(
            architecture=self.architecture,
            quantization=self._quantization(),
            block_count=len(self.blocks),
            context_length=self.number("context_length"),
            embedding_length=self.embedding,
            vocabulary=self._vocabulary(),
            heads=max((run.heads for run in runs), default=0),
            kv_heads=max((run.kv_heads for run in runs), default=0),
            key_length=self.key_length,
            value_length=self.value_length,
            feed_forward=max((run.feed_forward for run in runs), default=0),
            token_embd_bytes=groups["token_embd"],
            output_bytes=groups["output"],
            output_norm_bytes=groups["output_norm"],
            layers=runs,
            tied_embeddings=not groups["output"] and bool(groups["token_embd"]),
            input_bytes=groups["input"],
            rope_dimensions=self.number("rope.dimension_count", 0 if self.latent else self.key_length),
            window=self.window,
            nextn_layers=self.nextn,
            parameters=sum(tensor.elements for tensor in self.header.tensors),
            file_bytes=file_bytes,
            name=_label(self.header.text("general.name")),
            experts=self._experts(),
            latent=self.latent,
            recurrent=self._recurrent(),
            projector=self._projector(file_bytes),
        )

    def _layers(self) -> list[LayerRun]:
        count = len(self.blocks)
        pattern_key = f"{self.architecture}.attention.sliding_window_pattern"
        pattern = self.header.numbers(pattern_key) or self.header.number(pattern_key)
        window = self.header.number(f"{self.architecture}.attention.sliding_window")
        if window is None:
            window = self.header.number(f"{self.architecture}.attention.chunk_size")
        self.window, windowed = windowed_layers(self.architecture, count, window, pattern)
        shared = self.number("attention.shared_kv_layers")
        if not shared and self.architecture == "gemma3n":
            shared = max(0, count - _GEMMA3N_OWN_CACHES)
        feed_forward = self.each("feed_forward_length", count) or (0,) * count
        return [
            self._layer(index, layer, windowed[index], index >= count - shared, feed_forward[index])
            for index, layer in enumerate(self.blocks)
        ]

    def _layer(
        self, index: int, layer: LayerTensors, windowed: bool, borrows_cache: bool, feed_forward: int
    ) -> LayerRun:
        heads, kv_heads = self.heads[index], self.kv_heads[index]
        run = LayerRun(
            count=1,
            dense_bytes=layer.dense,
            expert_bytes=layer.experts,
            largest_bytes=layer.largest,
            heads=heads,
            feed_forward=feed_forward,
            recurrent=layer.recurrent,
        )
        attends = layer.attends or ("qkv" in layer.rows and not layer.recurrent)
        if not attends and not is_known(self.architecture) and not layer.recurrent:
            attends = bool(heads)  # tensors under names of its own: count them rather than miss them
        if not attends or borrows_cache:
            return replace(run, attention="none")
        if layer.latent and self.latent:
            width = self.latent.kv_rank + self.latent.rope_length
            return replace(run, attention="latent", kv_heads=kv_heads, key_width=width, value_width=0)
        attention: Attention = "window" if windowed else "full"
        key, value = self._widths(layer, kv_heads, windowed)
        if not key and not value:
            return replace(run, attention="none")
        return replace(run, attention=attention, kv_heads=kv_heads, key_width=key, value_width=value)

    def _widths(self, layer: LayerTensors, kv_heads: int, windowed: bool) -> tuple[int, int]:
        """Elements of K and of V that a token adds to the cache of a layer."""
        key = self.number("attention.key_length_swa", self.key_length) if windowed else self.key_length
        value = (
            self.number("attention.value_length_swa", self.value_length) if windowed else self.value_length
        )
        told = (kv_heads * key, kv_heads * value)
        if is_known(self.architecture) and any(told):
            return told
        if "k" in layer.rows:  # what the projections really make; without V the keys serve as values
            return layer.rows["k"], layer.rows.get("v", layer.rows["k"])
        if "qkv" in layer.rows and not any(told):
            half = layer.rows["qkv"] // 2
            return half, half
        return told

    def _latent(self) -> Latent | None:
        rank = self.number("attention.kv_lora_rank")
        if not rank:
            return None
        names = {name.rpartition("attn_")[2] for name in (tensor.name for tensor in self.header.tensors)}
        split = "k_b.weight" in names and "v_b.weight" in names
        return Latent(
            q_rank=self.number("attention.q_lora_rank"),
            kv_rank=rank,
            rope_length=self.number("rope.dimension_count"),
            key_length=self.number("attention.key_length_mla", self.key_length),
            value_length=self.number("attention.value_length_mla", self.value_length),
            split=split,
        )

    def _experts(self) -> Experts | None:
        count = self.number("expert_count")
        if not count:
            return None
        width = self.number("expert_feed_forward_length")
        shared = self.number("expert_shared_count")
        shared_width = self.number("expert_shared_feed_forward_length", shared * width)
        first = next((index for index, layer in enumerate(self.blocks) if layer.experts), 0)
        return Experts(
            count=count,
            used=min(self.number("expert_used_count"), count),
            shared=shared or int(shared_width > 0),
            leading_dense=self.number("leading_dense_block_count", first),
            feed_forward=width,
            shared_feed_forward=shared_width,
        )

    def _recurrent(self) -> Recurrent | None:
        if not any(layer.recurrent for layer in self.blocks):
            return None
        return Recurrent(
            conv_kernel=self.number("ssm.conv_kernel"),
            inner_size=self.number("ssm.inner_size"),
            state_size=self.number("ssm.state_size"),
            groups=self.number("ssm.group_count"),
            time_step_rank=self.number("ssm.time_step_rank"),
            wkv_head_size=self.number("wkv.head_size"),
            token_shift=self.number("token_shift_count"),
            shortconv_cache=self.number("shortconv.l_cache"),
        )

    def _projector(self, file_bytes: int) -> Projector | None:
        size = self.groups["projector"]
        return Projector(size, file_bytes or size, embedded=True) if size else None

    def _vocabulary(self) -> int:
        told = self.header.lengths.get("tokenizer.ggml.tokens") or self.number("vocab_size")
        if told:
            return min(told, (1 << 63) - 1)
        rows = (tensor.shape for tensor in self.header.tensors if tensor.name == TOKEN_EMBD)
        return next((shape[1] for shape in rows if len(shape) > 1), 0)

    def _quantization(self) -> str:
        """As the file says; where it says nothing known, the type that most bytes have."""
        if name := file_type_name(self.header.number("general.file_type")):
            return name
        by_type: Counter[str] = Counter()
        for tensor in self.header.tensors:
            by_type[tensor.kind.name] += tensor.size
        return max(by_type, key=lambda name: (by_type[name], name), default="F32")


def _runs(layers: Iterable[LayerRun]) -> Iterable[LayerRun]:
    for run, alike in groupby(layers):
        yield replace(run, count=sum(1 for _ in alike))


def _label(text: str | None) -> str:
    return "".join(char for char in text or "" if char.isprintable())[:_MAX_LABEL].strip()
