from __future__ import annotations

import pytest

from ollama_fleet.artifacts.families import UnknownFamily, families, family, find_model
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.artifacts.tensor_shapes import header_of_shape

MIB = 2**20
GIB = 2**30

# Size: MiB on the GPU and of the embedding at Q4_K_M, tensor bytes at Q4_K_M, Q8_0 and F16, KV bytes a token at
# f16. As published logs of the files have it (1.5b, 7b, 8b-llama-distill, 32b) and as computed by hand.
R1 = {
    "1.5b": (934.69, 125.19, 1_111_370_240, 1_888_581_632, 3_554_465_792, 28_672),
    "7b": (4168.09, 292.36, 4_677_120_000, 8_092_571_648, 15_231_899_648, 57_344),
    "8b-llama-distill": (4403.49, 281.81, 4_912_898_304, 8_532_934_912, 16_061_055_232, 131_072),
    "8b": (4455.34, 333.84, 5_021_827_072, 8_703_561_728, 16_382_087_168, 147_456),
    "14b": (8148.38, 417.66, 8_982_142_976, 15_695_630_336, 29_541_748_736, 196_608),
    "32b": (18508.35, 417.66, 19_845_357_568, 34_814_906_368, 65_529_991_168, 262_144),
    "70b": (39979.48, 563.62, 42_512_531_712, 74_967_187_712, 141_110_051_072, 327_680),
}

# Files of DeepSeek-R1-Distill-Qwen-32B at hf.co/bartowski, in GB as listed there.
PUBLISHED_32B = {
    "Q8_0": 34.82,
    "Q6_K": 26.89,
    "Q5_K_M": 23.26,
    "Q5_K_S": 22.64,
    "Q4_K_M": 19.85,
    "Q4_K_S": 18.78,
    "IQ4_NL": 18.68,
    "IQ4_XS": 17.69,
    "Q3_K_L": 17.25,
    "Q3_K_M": 15.94,
    "IQ3_M": 14.81,
    "Q3_K_S": 14.39,
    "IQ3_XS": 13.71,
    "Q2_K": 12.31,
    "IQ2_M": 11.26,
    "IQ2_S": 10.39,
    "IQ2_XS": 9.96,
    "IQ2_XXS": 9.03,
}
QWEN_HEADER_BYTES = 1_117_320_512 - 1_111_370_240  # the published 1.5b, less its tensors: the same vocabulary


def cache_per_token(facts: ModelFacts) -> int:
    return sum(2 * (layer.key_width + layer.value_width) for layer in facts.each_layer())


@pytest.mark.parametrize("size", R1)
def test_the_weights_of_r1_to_the_byte(size: str) -> None:
    on_gpu, embedding, *tensor_bytes, cache = R1[size]
    models = family("deepseek-r1").sizes[size].models
    assert [models[name].facts.total_bytes for name in ("Q4_K_M", "Q8_0", "F16")] == tensor_bytes
    facts = models["Q4_K_M"].facts
    offloaded = facts.layer_bytes + facts.output_bytes + facts.output_norm_bytes
    assert (round(offloaded / MIB, 2), round(facts.token_embd_bytes / MIB, 2)) == (on_gpu, embedding)
    assert cache_per_token(facts) == cache
    assert facts.context_length == 131_072
    assert not facts.tied_embeddings


def test_the_full_r1() -> None:
    models = family("deepseek-r1").sizes["671b"].models
    q4 = models["Q4_K_M"].facts
    assert round(q4.total_bytes / MIB, 2) == round(385_689.625, 2)  # an engine's log: 7106.67 + 378582.96 MiB
    assert [round(models[name].facts.total_bytes / GIB, 2) for name in models] == [1251.99, 664.29, 376.65]
    assert len(header_of_shape(models["Q4_K_M"].shape, "Q4_K_M", "").tensors) == 1025
    assert q4.context_length == 163_840
    assert cache_per_token(q4) == 70_272
    assert q4.latent is not None
    expanded = 2 * q4.block_count * q4.heads * (q4.latent.key_length + q4.latent.value_length)
    assert round(expanded / MIB, 2) == 4.77
    assert q4.experts is not None
    assert (q4.experts.count, q4.experts.used, q4.experts.leading_dense) == (256, 8, 3)
    expert_share = sum(layer.expert_bytes for layer in q4.each_layer()) / q4.total_bytes
    assert 0.95 < expert_share < 0.98
    assert round(q4.parameters / 1e9) == 671


@pytest.mark.parametrize("quantization", PUBLISHED_32B)
def test_the_quantiser_s_mixtures_give_the_published_file_sizes(quantization: str) -> None:
    from ollama_fleet.artifacts.header_facts import facts_of_header

    shape = family("deepseek-r1").sizes["32b"].models["Q4_K_M"].shape
    facts = facts_of_header(header_of_shape(shape, quantization, ""))
    size = facts.total_bytes + QWEN_HEADER_BYTES
    assert size / 1e9 == pytest.approx(PUBLISHED_32B[quantization], abs=0.0051)


def test_larger_quantisations_come_first_and_facts_survive_the_lock() -> None:
    for each in families().values():
        for size in each.sizes.values():
            sizes = [model.facts.total_bytes for model in size.models.values()]
            assert sizes == sorted(sizes, reverse=True)
            for quantization, model in size.models.items():
                assert model.facts.quantization == quantization
                assert model.facts.known
                assert ModelFacts.from_dict(model.facts.to_dict()) == model.facts


@pytest.mark.parametrize(
    ("name", "size", "quantization"),
    [
        ("deepseek-r1", "8b", "Q4_K_M"),
        ("deepseek-r1:8b", "8b", "Q4_K_M"),
        ("DeepSeek-R1:32B", "32b", "Q4_K_M"),
        ("registry.ollama.ai/library/deepseek-r1:32b-qwen-distill-q8_0", "32b", "Q8_0"),
        ("deepseek-r1:8b-llama-distill-fp16", "8b-llama-distill", "F16"),
        ("deepseek-r1:671b-q4_K_M", "671b", "Q4_K_M"),
        ("hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M", "32b", "IQ3_M"),
    ],
)
def test_names_are_found(name: str, size: str, quantization: str) -> None:
    found = find_model(ModelName.parse(name))
    assert found is not None
    assert (found.family, found.size, found.quantization) == ("deepseek-r1", size, quantization)


def test_other_names_are_not() -> None:
    assert find_model(ModelName.parse("deepseek-r1:33b")) is None
    assert find_model(ModelName.parse("mirror.lan/library/deepseek-r1:8b")) is None


def test_every_name_is_a_model_s_name_once() -> None:
    names = [
        ModelName.parse(name).folded
        for each in families().values()
        for size in each.sizes.values()
        for model in size.models.values()
        for name in model.names
    ]
    assert len(names) == len(set(names))
    assert all(each.default in each.sizes for each in families().values())


def test_a_quantisation_in_any_spelling() -> None:
    size = family("deepseek-r1").sizes["32b"]
    for word, quantization in (("q4_K_M", "Q4_K_M"), ("fp16", "F16"), ("iq3_m", "IQ3_M")):
        found = size.model(word)
        assert found is not None
        assert found.quantization == quantization
    assert size.model("Q4_K_XL") is None


def test_an_unknown_family_is_told_with_the_nearest() -> None:
    with pytest.raises(
        UnknownFamily, match=r"'deepseek-r2' is not in the catalogue; do you mean deepseek-r1\?"
    ):
        family("deepseek-r2")
