"""What is chosen for one model, and why not better."""

from dataclasses import replace

import pytest

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.model_facts import Experts, LayerRun
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.choice import Candidate, Choice, Preferences, choose
from ollama_fleet.planner.memory import GpuBudget, budgets_of

GIB = 2**30
MIB = 2**20
RELEASE = "0.32.15"


def candidates(size: str, *quantizations: str) -> list[Candidate]:
    models = families()["deepseek-r1"].sizes[size].models
    return [
        Candidate(size, name, model.names[0], model.facts)
        for name, model in models.items()
        if model.names and (not quantizations or name in quantizations)
    ]


def chosen(size: str, free: int, **wanted: object) -> Choice:
    preferences = Preferences(**{"release": RELEASE, **wanted})  # type: ignore[arg-type]
    found = choose(candidates(size), (GpuBudget("gpu", free, free, 10**12),), preferences)
    assert found is not None
    return found


def test_with_room_the_first_quantisation_runs_at_the_wanted_context_with_an_f16_cache() -> None:
    found = chosen("14b", 24 * GIB)
    assert (found.candidate.quantization, found.num_ctx, found.kv_type, found.way) == (
        "Q4_K_M",
        8192,
        "f16",
        "gpu",
    )
    assert found.rejected is None


def test_the_cache_is_quantised_before_the_context_is_cut_and_the_context_before_the_weights() -> None:
    # 14b takes 8148 MiB of weights, 127 of compute, 832 of reserve; 1536 of f16 or 816 of q8_0 cache at 8192.
    tight = chosen("14b", 10_100 * MIB)
    tighter = chosen("14b", 9_600 * MIB)
    smallest = chosen("14b", 9_300 * MIB)
    assert (tight.candidate.quantization, tight.num_ctx, tight.kv_type) == ("Q4_K_M", 8192, "q8_0")
    assert (tighter.candidate.quantization, tighter.kv_type) == ("Q4_K_M", "q8_0")
    assert 4096 <= tighter.num_ctx < 8192
    assert smallest.candidate.quantization == "Q4_K_S"


def test_the_first_better_option_is_told_with_what_it_lacks() -> None:
    found = chosen("14b", 10_100 * MIB)
    rejected = found.rejected
    assert rejected is not None
    assert (rejected.candidate.quantization, rejected.num_ctx, rejected.kv_type) == ("Q4_K_M", 8192, "f16")
    assert rejected.lacks == rejected.estimate.devices[0].total - 10_100 * MIB
    missing = -(-rejected.lacks // MIB)
    assert f"14b Q4_K_M with num_ctx 8192, f16 cache lacks {missing} MiB on gpu" in rejected.reason


def test_layers_stay_on_the_host_only_where_no_quantisation_fits() -> None:
    found = chosen("32b", 8 * GIB)
    assert found.way == "partial"
    assert found.candidate.quantization == "Q4_K_M"
    assert 0 < found.num_gpu < 65


def test_the_cpu_comes_last() -> None:
    found = choose(candidates("7b"), (), Preferences(release=RELEASE), host_free=16 * GIB)
    assert found is not None
    assert (found.way, found.num_gpu, found.written_num_gpu) == ("cpu", 0, 0)
    assert choose(candidates("7b"), (), Preferences(release=RELEASE), host_free=2 * GIB) is None


def test_num_gpu_is_written_only_for_engines_that_need_it_or_where_it_was_asked_for() -> None:
    assert chosen("7b", 24 * GIB).written_num_gpu is None
    assert chosen("7b", 24 * GIB, release="0.24.0").written_num_gpu == 29
    assert chosen("7b", 24 * GIB, num_gpu=20).written_num_gpu == 20
    assert chosen("7b", 24 * GIB, num_gpu="engine", release="0.24.0").written_num_gpu is None


def test_a_number_of_layers_that_is_given_is_kept_and_the_rest_gives_way() -> None:
    found = chosen("14b", 10_100 * MIB, num_gpu=49)
    assert found.num_gpu == 49
    assert found.kv_type == "q8_0"


def test_the_users_list_decides_on_order_and_limits() -> None:
    found = chosen("14b", 24 * GIB, quantizations=("q8_0", "q4_K_M"))
    less = chosen("14b", 12 * GIB, quantizations=("q8_0", "q4_K_M"))
    assert found.candidate.quantization == "Q8_0"
    assert less.candidate.quantization == "Q4_K_M"


def test_without_flash_attention_the_cache_is_not_quantised() -> None:
    old = GpuBudget("old", 10_100 * MIB, 10_100 * MIB, fused_attention=False)
    found = choose(candidates("14b"), (old,), Preferences(release=RELEASE))
    assert found is not None
    assert found.kv_type == "f16"


def test_a_mixture_keeps_experts_on_the_host_before_layers() -> None:
    plain = candidates("7b", "Q4_K_M")[0]
    run = LayerRun(28, 40 * MIB, 400 * MIB, 200 * MIB, "full", 28, 4, 512, 512)
    mixture = replace(
        plain.facts, architecture="qwen3moe", layers=(run,), experts=Experts(64, 8, feed_forward=768)
    )
    gpu = (GpuBudget("gpu", 8 * GIB, 8 * GIB),)
    found = choose([replace(plain, facts=mixture)], gpu, Preferences(release=RELEASE))
    assert found is not None
    assert found.way == "experts-on-host"
    assert found.num_gpu == 29
    assert found.estimate.host.weights > mixture.token_embd_bytes
    before = choose([replace(plain, facts=mixture)], gpu, Preferences(release="0.24.0"))
    assert before is not None
    assert before.way == "partial"


def test_the_batch_is_pinned_so_that_the_engine_does_not_raise_it() -> None:
    found = chosen("7b", 24 * GIB, num_ctx=65_536)
    assert found.num_batch == 512
    assert found.estimate.num_batch == 512


def test_a_floor_above_the_wanted_context_is_an_error() -> None:
    with pytest.raises(ValueError, match="the least num_ctx, 8192, is above the wanted 4096"):
        Preferences(num_ctx=4096, num_ctx_floor=8192)


def test_declared_and_measured_devices_of_the_same_memory_give_the_same_choice() -> None:
    declared = Device.declared("rtx-4090", 0)
    budget = budgets_of([declared])[0]
    measured = replace(declared, uuid="GPU-1", driver="580.1", memory_free=budget.free)
    wanted = Preferences(release=RELEASE)
    offline = choose(candidates("32b"), budgets_of([declared]), wanted)
    live = choose(candidates("32b"), budgets_of([measured]), wanted)
    assert offline == live
