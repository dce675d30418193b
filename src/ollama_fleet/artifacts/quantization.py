"""Which type each tensor of a quantised file has: the mixtures that llama.cpp's quantiser makes.

A quantisation such as Q4_K_M is a base type with exceptions by the tensor's role and layer. The tables below
say them for models with one dense feed-forward network or with many small experts; files made by others with
mixtures of their own (names with UD, XL) follow no table and must be read. Norms, biases and routers stay F32.

The I-quants and the file sizes they are checked against are those of files made with an importance matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from ollama_fleet.artifacts.ggml_types import TYPES_BY_NAME, TensorType

__all__ = ["MIXTURES", "Mixture", "Role", "tensor_type"]

Role = Literal[
    "embedding", "output", "query", "key", "value", "attention_output", "up", "gate", "down", "other", "exact"
]
"""What a tensor is to the quantiser; `exact` ones are stored as F32 whatever the mixture."""

Where = Literal["all", "grouped", "first 2", "first 4", "first 1/16", "first 1/8", "middle", "more bits"]
"""Which layers an exception is for. `grouped`: all, where at least four heads share one of K and V;
`middle`: from the first to the last eighth; `more bits`: the first eighth, the last, and every third."""

Exceptions = tuple[tuple[Where, str], ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A base type, the types of the embedding and the output, and exceptions by role, the first that holds."""

    base: str
    output: str = "Q6_K"
    embedding: str = ""
    exceptions: Mapping[Role, Exceptions] = field(default_factory=lambda: MappingProxyType({}))


def _mixture(base: str, output: str = "Q6_K", embedding: str = "", **roles: Exceptions) -> Mixture:
    return Mixture(base, output, embedding, MappingProxyType(roles))  # type: ignore[arg-type]


def _small(base: str, better: str, attention_output: Exceptions = ()) -> Mixture:
    """The I-quants of two bits: some layers and the embedding get the better type."""
    return _mixture(
        base,
        "Q5_K",
        better,
        value=(("grouped", "Q4_K"), ("all", better)),
        down=(("first 1/8", better),),
        attention_output=attention_output,
    )


# From the largest to the smallest.
MIXTURES: Mapping[str, Mixture] = MappingProxyType(
    {
        "F32": _mixture("F32", "F32"),
        "F16": _mixture("F16", "F16"),
        "BF16": _mixture("BF16", "BF16"),
        "Q8_0": _mixture("Q8_0", "Q8_0"),
        "Q6_K": _mixture("Q6_K"),
        "Q5_K_M": _mixture("Q5_K", value=(("more bits", "Q6_K"),), down=(("more bits", "Q6_K"),)),
        "Q5_K_S": _mixture("Q5_K"),
        "Q4_K_M": _mixture("Q4_K", value=(("more bits", "Q6_K"),), down=(("more bits", "Q6_K"),)),
        "Q4_K_S": _mixture("Q4_K", value=(("first 4", "Q5_K"),), down=(("first 1/8", "Q5_K"),)),
        "IQ4_NL": _mixture("IQ4_NL", value=(("grouped", "Q5_K"),)),
        "IQ4_XS": _mixture("IQ4_XS", value=(("grouped", "Q5_K"),)),
        "Q3_K_L": _mixture(
            "Q3_K", value=(("all", "Q5_K"),), down=(("all", "Q5_K"),), attention_output=(("all", "Q5_K"),)
        ),
        "Q3_K_M": _mixture(
            "Q3_K",
            value=(("first 2", "Q5_K"), ("all", "Q4_K")),
            down=(("first 1/16", "Q5_K"), ("all", "Q4_K")),
            attention_output=(("all", "Q4_K"),),
        ),
        "IQ3_M": _mixture(
            "IQ3_S",
            value=(("all", "Q4_K"),),
            down=(("first 1/8", "Q4_K"),),
            attention_output=(("all", "Q4_K"),),
        ),
        "IQ3_S": _mixture("IQ3_S", value=(("grouped", "Q4_K"),)),
        "Q3_K_S": _mixture("Q3_K"),
        "IQ3_XS": _mixture(
            "IQ3_S",
            value=(("grouped", "Q4_K"),),
            query=(("all", "IQ3_XXS"),),
            key=(("all", "IQ3_XXS"),),
            gate=(("middle", "IQ3_XXS"),),
            up=(("middle", "IQ3_XXS"),),
        ),
        "IQ3_XXS": _mixture(
            "IQ3_XXS",
            "Q5_K",
            "IQ3_S",
            value=(("grouped", "Q4_K"),),
            query=(("all", "IQ2_S"),),
            key=(("all", "IQ2_S"),),
            attention_output=(("all", "IQ3_S"),),
        ),
        "Q2_K": _mixture(
            "Q2_K",
            value=(("grouped", "Q4_K"), ("all", "Q3_K")),
            down=(("all", "Q3_K"),),
            attention_output=(("all", "Q3_K"),),
        ),
        "IQ2_M": _small("IQ2_S", "IQ3_S", (("all", "IQ3_S"),)),
        "IQ2_S": _small("IQ2_XS", "IQ3_S", (("all", "IQ3_S"),)),
        "IQ2_XS": _small("IQ2_XS", "Q2_K"),
        "IQ2_XXS": _small("IQ2_XXS", "Q2_K"),
    }
)

# Where rows are no whole number of blocks of 256, the quantiser takes a type with blocks of 32.
_FALLBACK = MappingProxyType({"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"})


def tensor_type(
    quantization: str, role: Role, row: int, layer: int, layers: int, heads_per_kv: int
) -> TensorType:
    """The type of a tensor with rows of `row` elements in `layer` of `layers` (any, outside of layers).

    Raises:
        KeyError: for a quantisation that is not in `MIXTURES`.
    """
    mixture = MIXTURES[quantization]
    name = mixture.base
    if role == "exact":
        return TYPES_BY_NAME["F32"]
    if role == "output":
        name = mixture.output
    elif role == "embedding":
        name = mixture.embedding or name
    else:
        for where, better in mixture.exceptions.get(role, ()):
            if _holds(where, layer, layers, heads_per_kv):
                name = better
                break
        # The 70B models share each V among eight heads: there it costs little to store it well.
        if role == "value" and layers == 80 and heads_per_kv > 1 and name in {"Q3_K", "Q4_K"}:
            name = "Q5_K"
    if TYPES_BY_NAME[name].row_bytes(row) is None:
        name = "IQ4_NL" if name.startswith("IQ") else _FALLBACK.get(name, "F16")
        if TYPES_BY_NAME[name].row_bytes(row) is None:
            name = "F16"
    return TYPES_BY_NAME[name]


def _holds(where: Where, layer: int, layers: int, heads_per_kv: int) -> bool:
    eighth, last_eighth = layers // 8, 7 * layers // 8
    return {
        "all": True,
        "grouped": heads_per_kv >= 4,
        "first 2": layer < 2,
        "first 4": layer < 4,
        "first 1/16": layer < layers // 16,
        "first 1/8": layer < eighth,
        "middle": eighth <= layer < last_eighth,
        "more bits": layer < eighth or layer >= last_eighth or (layer - eighth) % 3 == 2,
    }[where]
