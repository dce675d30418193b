"""What the planner needs to know of a model's weights: its shape, and the bytes of every part.

Facts are read from the header of a GGUF file (`gguf.read_facts`) or made from the family catalogue
(`families`), kept as `facts` in `fleet.lock` (`to_dict`, `from_dict`), and immutable. All sizes are bytes, all
lengths are elements or tokens. A number that the model does not have is 0.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from ollama_fleet.artifacts import facts_json
from ollama_fleet.artifacts.architectures import is_known
from ollama_fleet.spec.errors import show

__all__ = [
    "FACTS_VERSION",
    "Attention",
    "Experts",
    "Latent",
    "LayerRun",
    "ModelFacts",
    "Projector",
    "Recurrent",
]

FACTS_VERSION = 1
_MAX_ORDER = 16 << 10
_ORDER_WORD = re.compile(r"([0-9]{1,4})(?:\*([0-9]{1,4}))?")

Attention = Literal["full", "window", "latent", "none"]
"""How a layer attends: to all tokens, to the last `window` tokens, through a compressed cache (MLA), or not at
all (a recurrent layer, one without attention, or one that reads the cache of an earlier layer)."""


@dataclass(frozen=True, slots=True)
class LayerRun:
    """`count` consecutive repeating layers that are alike; every other number is of one of them.

    `dense_bytes` is all tensors but the routed experts, `expert_bytes` the routed experts (all of them),
    `largest_bytes` the largest single tensor of either. `key_width` and `value_width` are the elements that
    one token adds to the K and V cache of the layer: kv heads × head length; for `latent` the compressed
    width and 0 (for the uncompressed cache see `Latent`); both 0 for `none`. `recurrent` layers have a state
    of fixed size per sequence, with or without attention beside it. `feed_forward` is the width of the dense
    feed-forward network, 0 where there are only experts.
    """

    count: int = 1
    dense_bytes: int = 0
    expert_bytes: int = 0
    largest_bytes: int = 0
    attention: Attention = "full"
    heads: int = 0
    kv_heads: int = 0
    key_width: int = 0
    value_width: int = 0
    feed_forward: int = 0
    recurrent: bool = False

    @property
    def bytes(self) -> int:
        """All tensors of one layer of the run."""
        return self.dense_bytes + self.expert_bytes


@dataclass(frozen=True, slots=True)
class Experts:
    """Mixture of experts: of `count` routed experts `used` are read for a token, `shared` always.

    The first `leading_dense` layers have none. `feed_forward` is the width of one routed expert,
    `shared_feed_forward` that of all shared ones together.
    """

    count: int
    used: int
    shared: int = 0
    leading_dense: int = 0
    feed_forward: int = 0
    shared_feed_forward: int = 0


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention (MLA).

    A token's compressed cache is `kv_rank + rope_length` elements of K and none of V (some engines keep
    `kv_rank` of V). Without compression it is heads × (`key_length` + `value_length`), which are per head.
    `split` tells whether the file has the up-projections as two tensors (attn_k_b, attn_v_b); where it has
    only the older attn_kv_b, engines of the llama.cpp kind keep the uncompressed cache.
    """

    q_rank: int
    kv_rank: int
    rope_length: int
    key_length: int
    value_length: int
    split: bool


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Dimensions of recurrent layers, as named in GGUF: `ssm.*`, `wkv.*`, `shortconv.*`; 0 where not used.

    For state-space layers one sequence's state is, per layer, (conv_kernel - 1) × (inner_size + 2 × groups ×
    state_size) + state_size × inner_size elements of four bytes.
    """

    conv_kernel: int = 0
    inner_size: int = 0
    state_size: int = 0
    groups: int = 0
    time_step_rank: int = 0
    wkv_head_size: int = 0
    token_shift: int = 0
    shortconv_cache: int = 0


@dataclass(frozen=True, slots=True)
class Projector:
    """A vision or audio encoder: a file of its own (`file_bytes`), or tensors inside the model's file.

    `embedded` projectors have their tensors' bytes in `file_bytes` too.
    """

    tensor_bytes: int
    file_bytes: int
    kind: str = ""
    embedded: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """The facts about one model, with its projector where it has one.

    Weights in groups, by where engines put them:

    - `token_embd_bytes`: the token embedding, on the CPU. Where `tied_embeddings`, it serves as the output
      projection as well and is then counted a second time, on the device of the output;
    - `input_bytes`: other tensors that belong to the input (positions, token types, per-layer embeddings);
    - `layers`: the repeating layers in order, run-length coded; the last `nextn_layers` of them only draft
      tokens (multi-token prediction) and are loaded by few engines;
    - `output_bytes`: the output projection (0 where tied);
    - `output_norm_bytes`: what else comes after the last layer, and goes where the output goes;
    - `projector`.

    `heads`, `kv_heads` and `feed_forward` are the largest of all layers; `key_length` and `value_length` are
    per head. `window` is in tokens, 0 where all layers attend to everything. `parameters` counts elements.
    `file_bytes` is the size of the file (all parts), 0 where it is not known.
    """

    architecture: str
    quantization: str
    block_count: int
    context_length: int
    embedding_length: int
    vocabulary: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    feed_forward: int
    token_embd_bytes: int
    output_bytes: int
    output_norm_bytes: int
    layers: tuple[LayerRun, ...]
    tied_embeddings: bool = False
    input_bytes: int = 0
    rope_dimensions: int = 0
    window: int = 0
    nextn_layers: int = 0
    parameters: int = 0
    file_bytes: int = 0
    name: str = ""
    experts: Experts | None = None
    latent: Latent | None = None
    recurrent: Recurrent | None = None
    projector: Projector | None = None

    @property
    def known(self) -> bool:
        """Whether the architecture's layers were read with knowledge of it.

        Where not, every layer with attention tensors counts as attending to everything: an upper bound.
        """
        return is_known(self.architecture)

    @functools.cached_property
    def layer_bytes(self) -> int:
        """All repeating layers together."""
        return sum(run.count * run.bytes for run in self.layers)

    @property
    def largest_layer_tensor_bytes(self) -> int:
        """The largest single tensor of any repeating layer."""
        return max((run.largest_bytes for run in self.layers), default=0)

    @property
    def total_bytes(self) -> int:
        """Every tensor once, without a projector that is a file of its own."""
        embedded = self.projector.tensor_bytes if self.projector and self.projector.embedded else 0
        outside = self.token_embd_bytes + self.input_bytes + self.output_bytes + self.output_norm_bytes
        return outside + self.layer_bytes + embedded

    @property
    def bits_per_weight(self) -> float:
        """Tensor bits by parameters; 0 where the parameters are not known."""
        return 8 * self.total_bytes / self.parameters if self.parameters else 0.0

    def each_layer(self) -> Iterator[LayerRun]:
        """Every layer from the first on; the runs' `count` has no meaning here."""
        for run in self.layers:
            for _ in range(run.count):
                yield run

    def to_dict(self) -> dict[str, facts_json.Json]:
        """Plain data for JSON or YAML, the same for equal facts; what has its default is left out.

        Layers are listed once for each kind; `layer_order` says how the kinds follow each other:
        `0*3 1*4 2` is three layers of the first kind, four of the second and one of the third.
        """
        kinds = list(dict.fromkeys(replace(run, count=1) for run in self.layers))
        numbers = {kind: number for number, kind in enumerate(kinds)}
        order = ((numbers[replace(run, count=1)], run.count) for run in self.layers)
        data = {"version": FACTS_VERSION, **facts_json.encode(replace(self, layers=tuple(kinds)))}
        data["layer_order"] = " ".join(str(kind) if n == 1 else f"{kind}*{n}" for kind, n in order)
        return data

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The opposite of `to_dict`; trusts nothing.

        Raises:
            facts_json.FactsError: one line that names the key, for anything but facts of this version.
        """
        order = data.get("layer_order") if isinstance(data, Mapping) else None
        if isinstance(data, Mapping):
            data = {key: value for key, value in data.items() if key != "layer_order"}
        facts = facts_json.decode(cls, data, FACTS_VERSION)
        facts = replace(facts, layers=_in_order(facts.layers, order))
        if sum(run.count for run in facts.layers) != facts.block_count:
            raise facts_json.FactsError(f"layer_order does not add up to block_count ({facts.block_count})")
        if facts.total_bytes >= 1 << 63:
            raise facts_json.FactsError("its tensors have more bytes than any file")
        return facts


def _in_order(kinds: tuple[LayerRun, ...], order: object) -> tuple[LayerRun, ...]:
    if not isinstance(order, str) or len(order) > _MAX_ORDER:
        raise facts_json.FactsError("facts.layer_order is missing or too long")
    runs = []
    for word in order.split():
        found = _ORDER_WORD.fullmatch(word)
        if found is None or int(found[1]) >= len(kinds):
            raise facts_json.FactsError(f"facts.layer_order has {show(word)}, which is no kind of layer")
        runs.append(replace(kinds[int(found[1])], count=int(found[2] or 1)))
    return tuple(runs)
