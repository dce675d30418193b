"""What an estimate says of one placement."""

from dataclasses import replace

import pytest

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.model_facts import ModelFacts, Projector, Recurrent
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.memory import FitOptions, GpuBudget, budgets_of, fit

MIB = 2**20
GIB = 2**30
HUGE = GpuBudget("gpu", 10**13, 10**13)


def r1(size: str, quantization: str = "Q4_K_M") -> ModelFacts:
    model = families()["deepseek-r1"].sizes[size].model(quantization)
    assert model is not None
    return model.facts


def options(**given: object) -> FitOptions:
    return FitOptions(**{"release": "0.32.15", "num_batch": 512, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "gpu", "host", "per_token"),
    [
        ("1.5b", 934.69, 125.19, 28_672),
        ("7b", 4168.09, 292.36, 57_344),
        ("8b-llama-distill", 4403.49, 281.81, 131_072),
        ("8b", 4455.34, 333.84, 147_456),
        ("14b", 8148.38, 417.66, 196_608),
        ("32b", 18508.35, 417.66, 262_144),
        ("70b", 39979.48, 563.62, 327_680),
    ],
)
def test_weights_and_cache_of_r1_are_what_engines_log(
    size: str, gpu: float, host: float, per_token: int
) -> None:
    found = fit(r1(size), (HUGE,), options(num_ctx=4096))
    assert round(found.devices[0].weights / MIB, 2) == gpu
    assert round(found.host.weights / MIB, 2) == host
    assert found.devices[0].kv == 4096 * per_token


def test_the_7b_takes_what_a_published_log_of_an_rtx_5070_says() -> None:
    device = fit(r1("7b"), (HUGE,), options(num_ctx=4096)).devices[0]
    assert [round(term / MIB) for term in (device.weights, device.kv, device.compute)] == [4168, 224, 136]


def test_cache_of_the_671b_is_latent_or_not_by_its_tensors() -> None:
    facts = r1("671b")
    assert facts.latent is not None
    split = replace(facts, latent=replace(facts.latent, split=True))
    whole = replace(facts, latent=replace(facts.latent, split=False))
    assert fit(split, (HUGE,), options(num_ctx=4096)).devices[0].kv == 4096 * 70_272
    # A log of Ollama 0.5 has 9760 MiB at 2048 tokens.
    old = fit(whole, (HUGE,), options(num_ctx=2048, num_gpu=1, release="0.5.7"))
    assert (old.devices[0].kv + old.host.kv) / MIB == 9760


def test_num_gpu_counts_the_output_from_0_30_on_and_the_last_layers_before() -> None:
    facts = r1("7b")
    new = fit(facts, (HUGE,), options(num_gpu=1))
    old = fit(facts, (HUGE,), options(num_gpu=1, release="0.24.0"))
    unknown = fit(facts, (HUGE,), options(num_gpu=1, release=None))
    output = facts.output_bytes + facts.output_norm_bytes
    last = list(facts.each_layer())[-1].bytes
    assert new.devices[0].weights == output
    assert old.devices[0].weights == last
    assert unknown.devices[0].weights == output + last
    for found in (new, old, unknown):
        assert found.devices[0].weights + found.host.weights == facts.total_bytes


def test_tied_embeddings_count_on_the_gpu_and_on_the_host() -> None:
    facts = r1("7b")
    tied = replace(facts, tied_embeddings=True, output_bytes=0)
    found = fit(tied, (HUGE,), options(num_gpu=999))
    layers = tied.layer_bytes + tied.output_norm_bytes
    assert found.devices[0].weights == layers + tied.token_embd_bytes
    assert found.host.weights == tied.token_embd_bytes


def test_a_layer_left_on_the_host_asks_for_room_to_copy_it_over() -> None:
    facts = r1("7b")
    partial = fit(facts, (HUGE,), options(num_gpu=20)).devices[0]
    whole = fit(facts, (HUGE,), options(num_gpu=29)).devices[0]
    assert partial.staging > 0
    assert whole.staging == 0
    assert partial.reserve == whole.reserve + partial.staging


def test_what_does_not_fit_is_named_with_the_missing_mebibytes() -> None:
    gpus = budgets_of([Device.declared("rtx-4060", 0)])
    found = fit(r1("14b"), gpus, options(num_ctx=8192, num_gpu=49))
    device = found.devices[0]
    assert not found.fits
    assert found.reasons[-1].startswith(
        f"rtx-4060 lacks {-(-(device.total - device.free) // MIB)} MiB: weights 8148 + "
    )


def test_auto_offloads_as_many_layers_as_fit_and_no_more() -> None:
    gpus = budgets_of([Device.declared("rtx-4060", 0)])
    auto = fit(r1("14b"), gpus, options(num_ctx=8192))
    assert auto.fits
    assert 0 < auto.layers_offloaded < auto.layers_total
    one_more = fit(r1("14b"), gpus, options(num_ctx=8192, num_gpu=auto.layers_offloaded + 1))
    assert not one_more.fits


def test_without_room_for_a_single_layer_the_cpu_is_left_and_the_reason_told() -> None:
    found = fit(r1("14b"), (GpuBudget("tiny", GIB, GIB),), options())
    assert found.layers_offloaded == 0
    assert any(reason.startswith("on the GPU: tiny lacks") for reason in found.reasons)


def test_host_memory_counts_where_it_is_known() -> None:
    enough = fit(r1("7b"), (), options(), host_free=16 * GIB)
    short = fit(r1("7b"), (), options(), host_free=4 * GIB)
    assert enough.fits
    assert not short.fits
    assert short.reasons[-1].startswith("the host lacks ")


def test_two_gpus_share_the_layers_and_a_small_model_takes_one() -> None:
    pair = (GpuBudget("a", 24 * GIB, 24 * GIB), GpuBudget("b", 24 * GIB, 24 * GIB))
    large = fit(r1("70b"), pair, options())
    small = fit(r1("7b"), pair, options())
    assert large.fits
    assert all(device.weights for device in large.devices)
    assert [bool(device.weights) for device in small.devices].count(True) == 1
    assert all(device.weights for device in fit(r1("7b"), pair, options(spread=True)).devices)


def test_each_further_gpu_keeps_a_gibibyte_more_free() -> None:
    pair = (GpuBudget("a", 24 * GIB, 24 * GIB), GpuBudget("b", 24 * GIB, 24 * GIB))
    first, second = fit(r1("70b"), pair, options()).devices
    assert first.reserve == 320 * MIB + 24 * GIB * 30 // 1000
    assert second.reserve == first.reserve + GIB


def test_unequal_gpus_that_hold_the_model_together_are_filled_until_they_do() -> None:
    # In proportion to free memory one of them would hold more than fits beside its fixed costs.
    pair = (GpuBudget("small", 5 * GIB, 5 * GIB), GpuBudget("large", 18 * GIB, 18 * GIB))
    found = fit(r1("32b"), pair, options(num_ctx=4096))
    fixed = fit(r1("32b"), pair, options(num_ctx=4096, num_gpu=65))
    assert found.fits
    assert found.full
    assert not fixed.fits


def test_a_windowed_model_keeps_the_window_and_a_batch() -> None:
    # llama.cpp: a cache of 1024 + 512 cells for the windowed layers of Gemma 3 27b at any context.
    facts = windowed(layers=62, period=6, window=1024, width=2048)
    short = fit(facts, (HUGE,), options(num_ctx=16384)).devices[0].kv
    long = fit(facts, (HUGE,), options(num_ctx=32768)).devices[0].kv
    assert short / MIB == 10 * 16384 * 8192 / MIB + 52 * 1536 * 8192 / MIB
    assert long - short == 10 * 16384 * 8192


def windowed(layers: int, period: int, window: int, width: int) -> ModelFacts:
    base = r1("7b")
    runs = [replace(base.layers[0], count=1, key_width=width, value_width=width) for _ in range(layers)]
    runs = [
        run if (place + 1) % period == 0 else replace(run, attention="window")
        for place, run in enumerate(runs)
    ]
    return replace(base, architecture="gemma3", block_count=layers, layers=tuple(runs), window=window)


def test_engines_before_0_30_keep_4096_tokens_of_gpt_oss_windows() -> None:
    # Ollama 0.11 logs 450 MiB for gpt-oss:120b at 8192 tokens: 18 layers in full, 18 with 4096 tokens and a batch.
    run = replace(r1("7b").layers[0], count=1, key_width=512, value_width=512)
    runs = [replace(run, attention="window"), run] * 18
    facts = replace(r1("7b"), architecture="gptoss", block_count=36, layers=tuple(runs), window=128)
    old = fit(facts, (HUGE,), options(num_ctx=8192, release="0.11.4"))
    new = fit(facts, (HUGE,), options(num_ctx=8192))
    assert old.devices[0].kv / MIB == 450
    assert new.devices[0].kv / MIB == 288 + 18 * 768 * 2048 / MIB


def test_engines_before_0_30_keep_snapshots_of_a_recurrent_state() -> None:
    # Ollama 0.20 logs 1.1 and 1.5 GiB for qwen3-coder-next at 32768 tokens: 768 MiB of cache, the rest states.
    run = replace(r1("7b").layers[0], count=1, key_width=512, value_width=512)
    linear = replace(run, attention="none", key_width=0, value_width=0, recurrent=True)
    facts = replace(
        r1("7b"),
        architecture="qwen3next",
        block_count=48,
        layers=(linear, linear, linear, run) * 12,
        recurrent=Recurrent(conv_kernel=4, inner_size=4096, state_size=128, groups=16),
    )
    state = 36 * 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096)
    old = fit(facts, (HUGE,), options(num_ctx=32768, release="0.20.2")).devices[0].kv
    new = fit(facts, (HUGE,), options(num_ctx=32768)).devices[0].kv
    assert new == 768 * MIB + state
    assert old == 768 * MIB + 25 * state
    assert abs(old / GIB - 2.6) < 0.05


def test_engines_before_0_30_keep_a_part_of_the_latent_cache_twice() -> None:
    # A log of llama.cpp b5331 has 2074 MiB at 16384 tokens.
    facts = r1("671b")
    assert facts.latent is not None
    split = replace(facts, latent=replace(facts.latent, split=True))
    assert fit(split, (HUGE,), options(num_ctx=16384, release="0.24.0")).devices[0].kv / MIB == 2074


def test_where_the_buffer_shrinks_with_a_larger_context_the_total_does_not() -> None:
    # From 7168 tokens on the engine finds room for one embedding of the 7b in a gap.
    asked = options(num_batch=2048, kv_type_k="q4_0", kv_type_v="q4_0")
    below = fit(r1("7b"), (HUGE,), replace(asked, num_ctx=6912)).devices[0]
    above = fit(r1("7b"), (HUGE,), replace(asked, num_ctx=7168)).devices[0]
    assert above.compute < below.compute
    assert above.total > below.total


@pytest.mark.parametrize(
    ("num_gpu", "said"),
    [
        (1, "num_gpu 1 is a number of layers, not of GPUs: 28 stay on the host"),
        (99, "num_gpu 99 is beyond the 29 layers there are, so all of them are meant"),
    ],
)
def test_a_number_of_layers_that_may_be_a_mistake_is_told(num_gpu: int, said: str) -> None:
    assert said in fit(r1("7b"), (HUGE,), options(num_gpu=num_gpu)).reasons
    assert fit(r1("7b"), (HUGE,), options(num_gpu=29)).reasons == ()


def test_a_quantised_cache_needs_flash_attention() -> None:
    with pytest.raises(ValueError, match="q8_0 V cache needs flash attention"):
        fit(r1("7b"), (HUGE,), options(kv_type_v="q8_0", flash_attention=False))


def test_an_unknown_architecture_is_an_upper_bound_and_says_so() -> None:
    known = r1("7b")
    strange = replace(known, architecture="never-seen")
    found = fit(strange, (HUGE,), options())
    assert found.confidence == "low"
    assert any("never-seen is not known" in reason for reason in found.reasons)
    assert found.devices[0].compute > fit(known, (HUGE,), options()).devices[0].compute
    assert found.devices[0].weights == fit(known, (HUGE,), options()).devices[0].weights


def test_parallel_sequences_have_a_cache_each() -> None:
    one = fit(r1("7b"), (HUGE,), options(num_ctx=4096)).devices[0]
    four = fit(r1("7b"), (HUGE,), options(num_ctx=4096, num_parallel=4)).devices[0]
    assert four.kv == 4 * one.kv


def test_the_engine_raises_an_unpinned_batch_with_the_context_and_that_is_told() -> None:
    unpinned = fit(r1("7b"), (HUGE,), FitOptions(num_ctx=40_960, release="0.32.15"))
    pinned = fit(r1("7b"), (HUGE,), options(num_ctx=40_960))
    assert (unpinned.num_batch, pinned.num_batch) == (2048, 512)
    assert unpinned.devices[0].compute == pytest.approx(4 * pinned.devices[0].compute, rel=0.01)
    assert any("num_batch is reckoned as 2048" in reason for reason in unpinned.reasons)


def test_the_projector_is_a_term_of_its_own() -> None:
    seeing = replace(r1("7b"), projector=Projector(800 * MIB, 800 * MIB, "clip"))
    device = fit(seeing, (HUGE,), options()).devices[0]
    assert device.projector == 800 * MIB * 7 // 5 + GIB
    assert device.to_dict()["projector"] == device.projector


def test_plain_data_is_what_fit_prints_as_json() -> None:
    data = fit(r1("7b"), (HUGE,), options()).to_dict()
    assert list(data) == ["model", "layers", "devices", "host", "fits", "confidence", "reasons"]
    assert data["layers"] == {"total": 29, "offloaded": 29}
    assert list(data["devices"][0]) == ["name", "weights", "kv", "compute", "reserve", "total", "free"]
    assert list(data["host"]) == ["weights", "kv", "compute", "total"]


@pytest.mark.parametrize("release", ["newest", "1", ""])
def test_a_release_that_is_no_version_is_an_error(release: str) -> None:
    with pytest.raises(ValueError, match="no version of Ollama"):
        fit(r1("7b"), (HUGE,), options(release=release))


def test_a_desktop_is_assumed_only_where_nothing_was_measured_and_a_screen_can_be() -> None:
    card = Device.declared("rtx-4090", 0)
    centre = Device.declared("a100-80gb", 0)
    assert budgets_of([card])[0].free == card.memory_total - 1740 * MIB
    assert budgets_of([card], desktop=False)[0].free == card.memory_total
    assert budgets_of([centre])[0].free == centre.memory_total
    assert budgets_of([replace(card, memory_free=7 * GIB)])[0].free == 7 * GIB
    assert budgets_of([card, Device.declared("rtx-4090", 1)])[1].free == card.memory_total
