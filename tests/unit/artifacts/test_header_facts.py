from __future__ import annotations

from typing import Any

import pytest

from ollama_fleet.artifacts.ggml_types import TYPES_BY_NAME
from ollama_fleet.artifacts.gguf_reader import GgufError, Header, Tensor, Value
from ollama_fleet.artifacts.header_facts import facts_of_header, projector_of_header
from ollama_fleet.artifacts.model_facts import Experts, Latent, ModelFacts, Recurrent

E, HEADS, KV, LENGTH, FF, VOCABULARY = 256, 8, 2, 32, 512, 1000
F16 = TYPES_BY_NAME["F16"]
Parts = dict[str, tuple[int, ...]]
ATTENTION: Parts = {
    "attn_q.weight": (E, HEADS * LENGTH),
    "attn_k.weight": (E, KV * LENGTH),
    "attn_v.weight": (E, KV * LENGTH),
    "attn_output.weight": (HEADS * LENGTH, E),
}
DENSE: Parts = {"ffn_gate.weight": (E, FF), "ffn_up.weight": (E, FF), "ffn_down.weight": (FF, E)}
MAMBA: Parts = {"ssm_in.weight": (E, 4 * E), "ssm_conv1d.weight": (4, 2 * E), "ssm_out.weight": (2 * E, E)}


def facts(
    architecture: str, layers: list[Parts], *, tied: bool = False, extra: Parts | None = None, **values: Any
) -> ModelFacts:
    """Facts of a model of such layers; `values` are keys of the architecture with `__` for a dot."""
    tensors: Parts = {"token_embd.weight": (E, VOCABULARY), "output_norm.weight": (E,)}
    tensors |= {} if tied else {"output.weight": (E, VOCABULARY)}
    tensors |= extra or {}
    for number, layer in enumerate(layers):
        tensors |= {f"blk.{number}.{name}": shape for name, shape in layer.items()}
    head = Header(3, 0, tensors=[Tensor.of(name, shape, F16) for name, shape in tensors.items()])
    given: dict[str, Value] = {
        "block_count": len(layers),
        "embedding_length": E,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV,
        "attention.key_length": LENGTH,
        "attention.value_length": LENGTH,
        "feed_forward_length": FF,
    }
    given |= {name.replace("__", "."): value for name, value in values.items()}
    head.values = {f"{architecture}.{key}": value for key, value in given.items()}
    head.values["general.architecture"] = architecture
    return facts_of_header(head)


def attention(found: ModelFacts) -> str:
    return "".join(
        {"full": "F", "window": "w", "latent": "L", "none": "-"}[run.attention] for run in found.each_layer()
    )


def test_a_dense_model() -> None:
    found = facts("llama", [ATTENTION | DENSE] * 3, general__x=1)
    run = found.layers[0]
    assert (len(found.layers), run.count) == (1, 3)
    assert run.dense_bytes == 2 * (2 * E * HEADS * LENGTH + 2 * E * KV * LENGTH + 3 * E * FF)
    assert run.largest_bytes == 2 * E * FF
    assert facts("llama", [DENSE | ATTENTION]).layers[0].largest_bytes == 2 * E * FF
    assert (run.heads, run.kv_heads, run.key_width, run.value_width) == (HEADS, KV, KV * LENGTH, KV * LENGTH)
    assert found.token_embd_bytes == found.output_bytes == 2 * E * VOCABULARY
    assert found.output_norm_bytes == 2 * E
    assert found.vocabulary == VOCABULARY
    assert not found.tied_embeddings
    assert found.known
    assert found.total_bytes == 2 * found.parameters


def test_without_an_output_the_embedding_is_it() -> None:
    found = facts("gemma", [ATTENTION | DENSE], tied=True)
    assert found.tied_embeddings
    assert found.output_bytes == 0


def test_head_lengths_follow_from_the_embedding_where_they_are_not_told() -> None:
    found = facts("llama", [ATTENTION | DENSE], attention__key_length="", attention__value_length="")
    assert (found.key_length, found.layers[0].key_width) == (E // HEADS, KV * LENGTH)


@pytest.mark.parametrize(
    ("architecture", "values", "expected"),
    [
        ("gemma3", {"attention__sliding_window": 1024}, "wwwwwFwwwwwFw"),
        ("gemma2", {"attention__sliding_window": 4096}, "wFwFwFwFwFwFw"),
        ("gpt-oss", {"attention__sliding_window": 128}, "wFwFwFwFwFwFw"),
        ("gptoss", {"attention__sliding_window": 128}, "wFwFwFwFwFwFw"),
        ("llama4", {"attention__chunk_size": 8192}, "wwwFwwwFwwwFw"),
        ("llama4", {}, "wwwFwwwFwwwFw"),
        ("smallthinker", {"attention__sliding_window": 4096}, "FwwwFwwwFwwwF"),
        ("olmo2", {}, "FFFFFFFFFFFFF"),
        ("gemma3", {"attention__sliding_window": 512, "attention__sliding_window_pattern": 4}, "wwwFwwwFwwwFw"),
        (
            "gemma4",
            {"attention__sliding_window": 512, "attention__sliding_window_pattern": (True, True, False) * 5},
            "wwFwwFwwFwwFw",
        ),
        # A window that the engines do not use, or of an architecture nobody knows: all of the context.
        ("qwen2", {"attention__sliding_window": 4096}, "FFFFFFFFFFFFF"),
        ("phi3", {"attention__sliding_window": 2047}, "FFFFFFFFFFFFF"),
        ("newthing", {"attention__sliding_window": 4096, "attention__sliding_window_pattern": 6}, "F" * 13),
    ],
)  # fmt: skip
def test_which_layers_have_a_sliding_window(architecture: str, values: dict[str, Any], expected: str) -> None:
    found = facts(architecture, [ATTENTION | DENSE] * 13, **values)
    assert attention(found) == expected
    assert (found.window > 0) == ("w" in expected)


def test_layers_may_have_heads_of_their_own() -> None:
    found = facts(
        "gemma4",
        [ATTENTION | DENSE] * 3,
        attention__head_count_kv=(4, 4, 1),
        attention__sliding_window=512,
        attention__sliding_window_pattern=(True, True, False),
        attention__key_length=64,
        attention__key_length_swa=32,
        attention__value_length=64,
        attention__value_length_swa=32,
        feed_forward_length=(512, 512, 1024),
    )
    assert [(run.count, run.attention, run.key_width, run.value_width) for run in found.layers] == [
        (2, "window", 128, 128),
        (1, "full", 64, 64),
    ]
    assert (found.kv_heads, found.feed_forward) == (4, 1024)


def test_the_last_layers_may_use_the_cache_of_others() -> None:
    told = facts("gemma4", [ATTENTION | DENSE] * 5, attention__shared_kv_layers=2)
    assert attention(told) == "FFF--"
    built_in = facts("gemma3n", [ATTENTION | DENSE] * 30, attention__sliding_window=512)
    assert attention(built_in)[18:] == "wF" + "-" * 10


def test_routed_experts_are_counted_apart() -> None:
    experts: Parts = {f"ffn_{part}_exps.weight": (E, 128, 16) for part in ("gate", "up", "down")}
    shared: Parts = {f"ffn_{part}_shexp.weight": (E, 64) for part in ("gate", "up", "down")}
    moe = ATTENTION | experts | shared | {"ffn_gate_inp.weight": (E, 16)}
    found = facts(
        "qwen2moe",
        [ATTENTION | DENSE] + [moe] * 2,
        expert_count=16,
        expert_used_count=4,
        expert_feed_forward_length=128,
        expert_shared_feed_forward_length=64,
    )
    assert [run.expert_bytes for run in found.layers] == [0, 3 * 2 * E * 128 * 16]
    attention_bytes = 2 * sum(rows * length for rows, length in ATTENTION.values())
    assert found.layers[1].dense_bytes == attention_bytes + 3 * 2 * E * 64 + 2 * E * 16
    assert found.experts == Experts(
        count=16, used=4, shared=1, leading_dense=1, feed_forward=128, shared_feed_forward=64
    )


@pytest.mark.parametrize("split", [False, True])
def test_latent_attention(split: bool) -> None:
    latent: Parts = {
        "attn_q_a.weight": (E, 96),
        "attn_kv_a_mqa.weight": (E, 80),
        "attn_output.weight": (HEADS * LENGTH, E),
    }
    latent |= (
        {"attn_k_b.weight": (32, 64, HEADS), "attn_v_b.weight": (64, 32, HEADS)}
        if split
        else {"attn_kv_b.weight": (64, HEADS * 64)}
    )
    told: dict[str, Any] = (
        {
            "attention__key_length": 80,
            "attention__key_length_mla": 48,
            "attention__value_length": 64,
            "attention__value_length_mla": 32,
            "attention__head_count_kv": 1,
        }
        if split
        else {"attention__key_length": 48, "attention__head_count_kv": HEADS}
    )
    found = facts(
        "deepseek2",
        [latent | DENSE] * 2,
        attention__kv_lora_rank=64,
        attention__q_lora_rank=96,
        rope__dimension_count=16,
        **told,
    )
    assert found.latent == Latent(96, 64, 16, 48, 32, split)
    assert [(run.attention, run.key_width, run.value_width) for run in found.layers] == [("latent", 80, 0)]


def test_recurrent_layers_are_those_with_a_state() -> None:
    recurrent = MAMBA | {"attn_qkv.weight": (E, 3 * E)}
    found = facts(
        "qwen3next",
        [recurrent | DENSE] * 3 + [ATTENTION | DENSE],
        ssm__conv_kernel=4,
        ssm__inner_size=512,
        ssm__state_size=128,
        ssm__group_count=16,
        ssm__time_step_rank=32,
    )
    assert attention(found) == "---F"
    assert [run.recurrent for run in found.each_layer()] == [True, True, True, False]
    assert found.recurrent == Recurrent(4, 512, 128, 16, 32)


def test_a_layer_can_have_a_state_and_a_cache() -> None:
    found = facts("falcon-h1", [ATTENTION | MAMBA | DENSE] * 2)
    assert [(run.attention, run.recurrent) for run in found.layers] == [("full", True)]


def test_layers_without_heads_have_no_cache() -> None:
    jamba = facts("jamba", [MAMBA, ATTENTION | DENSE, DENSE], attention__head_count_kv=(0, 2, 0))
    assert attention(jamba) == "-F-"
    assert [run.kv_heads for run in jamba.each_layer()] == [0, 2, 0]


def test_an_unknown_architecture_is_counted_by_its_shapes() -> None:
    found = facts("newthing", [ATTENTION | DENSE], attention__head_count_kv=1, attention__key_length=1)
    assert not found.known
    assert (found.layers[0].key_width, found.layers[0].value_width) == (KV * LENGTH, KV * LENGTH)
    fused = facts("newthing", [{"attn_qkv.weight": (E, 3 * E)}], attention__head_count_kv=0)
    assert fused.layers[0].key_width >= E
    strange = facts("newthing", [{"mixer.weight": (E, E)}])
    assert attention(strange) == "F"


def test_layers_that_only_draft() -> None:
    counted = facts("glm4moe", [ATTENTION | DENSE] * 4, nextn_predict_layers=1)
    assert (counted.block_count, counted.nextn_layers) == (4, 1)
    beyond = facts("glm4moe", [ATTENTION | DENSE] * 4, block_count=3)
    assert (beyond.block_count, beyond.nextn_layers) == (4, 1)


def test_a_projector_inside_the_model_and_embeddings_of_layers() -> None:
    extra: Parts = {
        "v.blk.0.attn_q.weight": (64, 64),
        "mm.proj.weight": (64, E),
        "per_layer_token_embd.weight": (E, 300),
    }
    found = facts("gemma3", [ATTENTION | DENSE], extra=extra)
    assert found.projector is not None
    assert found.projector.embedded
    assert found.projector.tensor_bytes == 2 * 64 * (64 + E)
    assert found.input_bytes == 2 * E * 300
    assert found.total_bytes == 2 * found.parameters


def test_the_quantisation_is_as_told_or_else_that_of_most_bytes() -> None:
    head = Header(3, 0, tensors=[Tensor.of("blk.0.attn_q.weight", (E, E), TYPES_BY_NAME["IQ4_XS"])])
    head.values = {"general.architecture": "llama", "llama.block_count": 1, "general.file_type": 15}
    assert facts_of_header(head).quantization == "Q4_K_M"
    head.values["general.file_type"] = 777
    assert facts_of_header(head).quantization == "IQ4_XS"


def test_a_projector_of_its_own() -> None:
    head = Header(3, 0, tensors=[Tensor.of("v.patch_embd.weight", (64, 64), F16)])
    head.values = {"general.architecture": "clip", "clip.vision.projector_type": "gemma3"}
    assert projector_of_header(head, 9000).kind == "gemma3"
    with pytest.raises(GgufError, match="this is a projector"):
        facts_of_header(head)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "general.architecture is"),
        ({"general.architecture": "a b"}, "which names none"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "this is an adapter"),
        ({"general.architecture": "llama"}, "llama.block_count is missing"),
        ({"general.architecture": "llama", "llama.block_count": 10**6}, "at most 1024 are supported"),
        (
            {
                "general.architecture": "llama",
                "llama.block_count": 1,
                "llama.attention.head_count": 1 << 62,
                "llama.attention.key_length": 1 << 62,
                "llama.attention.value_length": 4,
            },
            "its numbers make no sense",
        ),
    ],
)
def test_what_is_no_model_is_refused(values: dict[str, Value], expected: str) -> None:
    head = Header(3, 0, values=dict(values))
    if "llama.attention.head_count" in values:
        head.tensors = [Tensor.of("blk.0.attn_k.weight", (E, E), F16)]
    with pytest.raises(GgufError) as caught:
        facts_of_header(head)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absurd_layer_numbers_are_refused() -> None:
    with pytest.raises(GgufError, match="more than 1024 layers"):
        facts("llama", [ATTENTION], extra={"blk.99999.attn_q.weight": (E, E)})
