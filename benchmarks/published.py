"""Rows that others published, as the planner's own words: facts, options and what was measured."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ollama_fleet.artifacts.header_facts import facts_of_header
from ollama_fleet.artifacts.model_facts import Experts, Latent, LayerRun, ModelFacts, Recurrent
from ollama_fleet.artifacts.tensor_shapes import Shape, header_of_shape
from ollama_fleet.planner.memory import FitOptions, KvType
from ollama_fleet.planner.memory.options import KV_BLOCKS

DATA = Path(__file__).parent / "data"
MIB = 2**20
OLD_BUILD = 6000
"""Builds of llama.cpp before this were in Ollama before it kept the caches of sequences apart."""


@dataclass(frozen=True)
class Row:
    """One measurement: the terms in MiB as {device: MiB}, empty where they were not published."""

    id: int
    label: str
    tool: str
    raw: dict[str, str]
    weights: dict[str, float]
    kv: dict[str, float]
    compute: dict[str, float]
    weights_host: float | None
    kv_host: float
    recurrent: float

    def number(self, key: str) -> int | None:
        """An integer column, None where it is empty or no number."""
        text = self.raw[key].split(";")[0]
        return int(float(text)) if re.fullmatch(r"[0-9.]+", text) else None

    @property
    def devices(self) -> int:
        """GPUs with layers on them."""
        return max(len(self.weights), len(self.kv), len(self.compute), 1)

    @property
    def fork(self) -> bool:
        """Measured with a fork of the engine that works attention out in ways of its own."""
        return self.tool.startswith("ik_")

    @property
    def experts_on_host(self) -> int:
        """Layers whose experts were kept in host memory."""
        some = re.search(r"experts of (\d+)/\d+ layers overflow", self.raw["notes"])
        if some:
            return int(some[1])
        if re.search(r"experts.*(CPU|host)|exps=CPU", self.raw["notes"]):
            return 999
        # All layers are on GPUs, and yet most of the weights are on the host.
        whole = self.number("layers_offloaded") == self.number("layers_total")
        return 999 if whole and (self.weights_host or 0) > sum(self.weights.values()) > 0 else 0

    @property
    def build(self) -> int | None:
        """The build of llama.cpp, where the row has its number."""
        found = re.match(r"~?b?(\d{3,5})\b", self.raw["tool_version"])
        return int(found[1]) if found and self.tool.startswith("llama") else None


def rows() -> list[Row]:
    """Every row of memory-measured.csv."""
    with (DATA / "memory-measured.csv").open(newline="") as file:
        return [_row(raw) for raw in csv.DictReader(file)]


def _row(raw: dict[str, str]) -> Row:
    return Row(
        id=int(raw["row_id"]),
        label=f"{raw['model']} {raw['quant']}".strip(),
        tool=raw["tool"],
        raw=raw,
        weights=_per_device(raw["weights_mib_per_gpu"]),
        kv=_per_device(raw["kv_mib_per_gpu"]),
        compute=_per_device(raw["compute_mib_per_gpu"]),
        weights_host=float(raw["weights_mib_cpu"]) if raw["weights_mib_cpu"] else None,
        kv_host=float(raw["kv_mib_cpu"] or 0),
        recurrent=float(raw["rs_mib"] or 0),
    )


def _per_device(text: str) -> dict[str, float]:
    return {name: float(size) for name, _, size in (part.partition("=") for part in text.split(";")) if size}


def models() -> dict[int, dict[str, Any]]:
    """The entry of models.yaml for each row that has one, with what is said of the row alone."""
    document = yaml.safe_load((DATA / "models.yaml").read_text())
    return {
        row: {**entry, **document["of_row"].get(row, {})}
        for entry in document["models"]
        for row in entry["rows"]
    }


def facts_of(model: dict[str, Any], row: Row) -> ModelFacts:
    """Facts of an entry: exact where the quantisation is known, else with layers that weigh nothing."""
    if model.get("exact"):
        shape = _shape(model)
        return facts_of_header(header_of_shape(shape, model["quantization"], model["architecture"]))
    return _weightless(model, _bits(row.raw["quant"]))


def shape_of(model: dict[str, Any]) -> tuple[Shape, str] | None:
    """The shape of an entry and a quantisation to write its header in; None for kinds that no header is made for."""
    if model["architecture"] not in ("llama", "qwen2", "qwen3"):
        return None
    return _shape(model), model.get("quantization", "Q4_K_M")


def _shape(model: dict[str, Any]) -> Shape:
    return Shape(
        architecture=model["architecture"],
        layers=model["layers"],
        embedding=model["embedding"],
        heads=model["heads"],
        kv_heads=model["kv_heads"],
        feed_forward=model["ff"],
        vocabulary=model["vocabulary"],
        context=131072,
        head_length=model["head"],
        rope_factors=model.get("rope_factors", 0),
    )


def _bits(quantization: str) -> float:
    """Bits a weight, about, of a quantisation as people write it."""
    for name, bits in (
        ("F16", 16.0),
        ("BF16", 16.0),
        ("Q8", 8.5),
        ("Q6", 6.6),
        ("Q5", 5.5),
        ("Q4", 4.5),
        ("MXFP4", 4.25),
    ):
        if name in quantization:
            return bits
    return 3.4


def _weightless(model: dict[str, Any], bits: float) -> ModelFacts:
    period, hybrid, window = model.get("period", 0), "inner" in model, model.get("window", 0)
    lead = model.get("leading_dense", 0)
    largest = int(model.get("experts", 0) * model["embedding"] * model.get("expert_ff", 0) * bits / 8)
    layers = []
    for layer in range(model["layers"]):
        attends = not period or (layer + 1) % period == 0
        width = model["kv_heads"] * model["head"]
        kind: Any = "full" if attends else "none" if hybrid else "window"
        if "kv_rank" in model:
            kind, width = "latent", model["kv_rank"] + model["rope"]
        expert = bool(model.get("experts")) and layer >= lead
        layers.append(
            LayerRun(
                count=1,
                dense_bytes=0,
                expert_bytes=3 * largest if expert else 0,
                largest_bytes=largest if expert else 0,
                attention=kind,
                heads=model["heads"],
                kv_heads=model["kv_heads"],
                key_width=0 if kind == "none" else width,
                value_width=0 if kind in ("none", "latent") else width,
                feed_forward=0 if expert else model["ff"],
                recurrent=hybrid and not attends,
            )
        )
    latent = None
    if "kv_rank" in model:
        latent = Latent(
            model["q_rank"], model["kv_rank"], model["rope"], model["head"], model["value"], model["split"]
        )
    experts = None
    if model.get("experts"):
        experts = Experts(
            model["experts"],
            model["used"],
            1 if model.get("shared") else 0,
            lead,
            model["expert_ff"],
            model.get("shared", 0),
        )
    recurrent = None
    if hybrid:
        recurrent = Recurrent(
            conv_kernel=4, inner_size=model["inner"], state_size=model["state"], groups=model["groups"]
        )
    return ModelFacts(
        architecture=model["architecture"],
        quantization="",
        block_count=model["layers"],
        context_length=0,
        embedding_length=model["embedding"],
        vocabulary=model["vocabulary"],
        heads=model["heads"],
        kv_heads=model["kv_heads"],
        key_length=model["head"],
        value_length=model.get("value", model["head"]),
        feed_forward=model["ff"],
        token_embd_bytes=0,
        output_bytes=0,
        output_norm_bytes=0,
        layers=tuple(layers),
        tied_embeddings=bool(model.get("tied")),
        window=window,
        parameters=model["parameters"],
        experts=experts,
        latent=latent,
        recurrent=recurrent,
    )


def options_of(row: Row, facts: ModelFacts) -> FitOptions:
    """The options that a row was measured with; what it does not say is left to the engine."""
    parallel = row.number("n_parallel") or 1
    ctx = row.number("num_ctx") or 4096
    hybrid = facts.recurrent is not None
    if row.number("n_parallel") is None and hybrid and "Ollama" not in row.tool:
        parallel = 4  # what llama.cpp's server takes where nobody says
    flash = {"1": True, "0": False}.get(row.raw["flash_attn"])
    layers = row.number("layers_offloaded")
    return FitOptions(
        num_ctx=ctx,
        num_gpu=facts.block_count + 1 if layers is None else layers,
        num_batch=row.number("n_ubatch") or row.number("n_batch") or 512,
        num_parallel=parallel,
        unified=parallel > 1,  # the contexts in the rows are those of all sequences together
        kv_type_k=_kv_type(row.raw["kv_type_k"]),
        kv_type_v=_kv_type(row.raw["kv_type_v"]),
        flash_attention=flash,
        release=release_of(row),
        cpu_experts=row.experts_on_host,
        spread=True,
    )


def release_of(row: Row) -> str | None:
    """The release of Ollama whose engine is of the row's kind; None for builds in between and forks."""
    version = row.raw["tool_version"].lstrip("~v")
    if re.match(r"0\.\d+", version):
        return version
    if row.raw["kv_type_v"] == "MLA-none":
        return "0.32.0"  # K alone is kept, as the engine does from 0.30 on
    if (row.build or OLD_BUILD) < OLD_BUILD or re.match("2024|2025-0|mid-2025", version):
        return "0.9.0"  # llama.cpp as it was then
    recent = (
        "llama-server" in row.tool or "2026" in version or "fit" in row.tool or row.raw["arch"] == "qwen35"
    )
    return "0.32.0" if recent else None


def _kv_type(text: str) -> KvType:
    return text if text in KV_BLOCKS else "f16"  # type: ignore[return-value]
