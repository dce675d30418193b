"""Which tensors belong together: those of each layer, and those that stand before and after the layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ollama_fleet.artifacts.gguf_reader import GgufError, Tensor
from ollama_fleet.spec.errors import show

__all__ = ["MAX_LAYERS", "TOKEN_EMBD", "LayerTensors", "sort_tensors"]

MAX_LAYERS = 1024

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,9})\.(.+)")
_EXPERTS = re.compile(r"ffn_(?:gate|up|down|gate_up)(?:_exps|\.\d+)\.")
_RECURRENT = re.compile(r"ssm_|time_mix_|shortconv\.")
_ATTENTION = re.compile(r"attn_(?:k|v|kv_a_mqa|kv_b|k_b)\.weight")
# Encoders of images and sound that lie in the model's own file, as Ollama's own conversions have it.
_EMBEDDED_PROJECTOR = ("v.", "mm.", "a.", "s.", "vision.", "audio.")
_INPUT = frozenset(
    {
        "per_layer_token_embd.weight",
        "position_embd.weight",
        "token_embd_norm.weight",
        "token_embd_norm.bias",
        "token_types.weight",
    }
)
TOKEN_EMBD = "token_embd.weight"  # noqa: S105 - a tensor
_OUTPUT = ("output.weight", "output.bias")


@dataclass(slots=True)
class LayerTensors:
    """What the tensors of one layer tell. `rows` has the number of rows of each attention projection."""

    dense: int = 0
    experts: int = 0
    largest: int = 0
    recurrent: bool = False
    attends: bool = False
    latent: bool = False
    rows: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, tensor: Tensor) -> None:
        """Count a tensor; `name` is its name within the layer."""
        if _EXPERTS.match(name):
            self.experts += tensor.size
        else:
            self.dense += tensor.size
        self.largest = max(self.largest, tensor.size)
        self.recurrent = self.recurrent or bool(_RECURRENT.match(name))
        self.attends = self.attends or bool(_ATTENTION.match(name))
        self.latent = self.latent or name == "attn_kv_a_mqa.weight"
        if name in {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_qkv.weight"}:
            self.rows[name[5:-7]] = tensor.shape[1] if len(tensor.shape) > 1 else 0


def sort_tensors(tensors: Iterable[Tensor]) -> tuple[Counter[str], dict[int, LayerTensors]]:
    """Bytes of each group outside of the layers, and the layers that have tensors.

    The groups are `token_embd`, `input`, `output`, `output_norm` and `projector`.

    Raises:
        GgufError: for a layer with an absurd number.
    """
    groups: Counter[str] = Counter()
    layers: dict[int, LayerTensors] = {}
    for tensor in tensors:
        if found := _LAYER.fullmatch(tensor.name):
            index = int(found[1])
            if index >= MAX_LAYERS:
                raise GgufError(
                    f"tensor {show(tensor.name)}: more than {MAX_LAYERS} layers are not supported"
                )
            layers.setdefault(index, LayerTensors()).add(found[2], tensor)
        else:
            groups[_group(tensor.name)] += tensor.size
    return groups, layers


def _group(name: str) -> str:
    if name.startswith(_EMBEDDED_PROJECTOR):
        return "projector"
    if name == TOKEN_EMBD:
        return "token_embd"
    if name in _OUTPUT:
        return "output"
    return "input" if name in _INPUT else "output_norm"
