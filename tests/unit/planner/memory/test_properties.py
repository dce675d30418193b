"""Laws that hold whatever is asked."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.model_facts import Experts, LayerRun, ModelFacts, Recurrent
from ollama_fleet.planner.choice import Candidate, Preferences, choose
from ollama_fleet.planner.memory import FitOptions, GpuBudget, fit
from ollama_fleet.planner.recommendation import recommend, worth

GIB = 2**30
MIB = 2**20
R1 = families()["deepseek-r1"]

releases = st.sampled_from([None, "0.24.0", "0.32.15"])
gigabytes = st.integers(1 * GIB, 96 * GIB)


def dense(size: str) -> ModelFacts:
    model = R1.sizes[size].model("Q4_K_M")
    assert model is not None
    return model.facts


def variants() -> list[ModelFacts]:
    """A model of each kind that is told apart."""
    plain = dense("7b")
    run = plain.layers[0]
    period = [replace(run, count=5, attention="window"), replace(run, count=1)]
    linear = replace(run, count=3, attention="none", key_width=0, value_width=0, recurrent=True)
    mixture = LayerRun(
        28, 40 * MIB, 200 * MIB, 20 * MIB, "full", heads=28, kv_heads=4, key_width=512, value_width=512
    )
    return [
        plain,
        dense("32b"),
        dense("671b"),
        replace(plain, architecture="gemma3", block_count=24, layers=tuple(period * 4), window=1024),
        replace(
            plain,
            architecture="qwen35",
            block_count=28,
            layers=tuple([linear, replace(run, count=1)] * 7),
            recurrent=Recurrent(conv_kernel=4, inner_size=4096, state_size=128, groups=16),
        ),
        replace(plain, architecture="qwen3moe", layers=(mixture,), experts=Experts(64, 8, feed_forward=768)),
        replace(plain, architecture="never-seen"),
    ]


VARIANTS = variants()
models = st.sampled_from(VARIANTS)


@st.composite
def asked(draw: st.DrawFn) -> FitOptions:
    flash = draw(st.sampled_from([None, True, False]))
    kind: Any = "f16" if flash is False else draw(st.sampled_from(["f16", "q8_0", "q4_0"]))
    return FitOptions(
        num_ctx=draw(st.integers(1, 131_072)),
        num_gpu=draw(st.one_of(st.just("auto"), st.just("all"), st.integers(0, 70))),  # type: ignore[arg-type]
        num_batch=draw(st.sampled_from([None, 32, 512, 2048])),
        num_parallel=draw(st.integers(1, 4)),
        kv_type_k=kind,
        kv_type_v=kind,
        flash_attention=flash,
        release=draw(releases),
        cpu_experts=draw(st.integers(0, 30)),
        spread=draw(st.booleans()),
    )


gpu_lists = st.lists(gigabytes, max_size=3).map(
    lambda sizes: tuple(GpuBudget(f"gpu{place}", size, size) for place, size in enumerate(sizes))
)


@given(models, gpu_lists, asked())
def test_the_terms_add_up_to_the_total(
    facts: ModelFacts, gpus: tuple[GpuBudget, ...], options: FitOptions
) -> None:
    found = fit(facts, gpus, options)
    for device in found.devices:
        terms = device.weights + device.kv + device.compute + device.reserve + device.projector + device.draft
        assert terms == device.total
        assert 0 <= device.staging <= device.reserve
    assert found.host.total == found.host.weights + found.host.kv + found.host.compute
    assert found.fits == all(device.total <= device.free for device in found.devices)


@given(models, gpu_lists, asked())
def test_every_tensor_is_somewhere(
    facts: ModelFacts, gpus: tuple[GpuBudget, ...], options: FitOptions
) -> None:
    found = fit(facts, gpus, options)
    assert sum(device.weights for device in found.devices) + found.host.weights == facts.total_bytes


@settings(max_examples=400)
@given(models, asked(), st.one_of(st.integers(0, 1024), st.integers(0, 65_536)))
def test_more_context_never_needs_less(facts: ModelFacts, options: FitOptions, more: int) -> None:
    gpus = (GpuBudget("gpu", 1 << 50, 1 << 50),)
    short = fit(facts, gpus, options)
    long = fit(facts, gpus, replace(options, num_ctx=options.num_ctx + more))
    assert long.devices[0].kv >= short.devices[0].kv
    assert long.host.kv >= short.host.kv
    assert long.devices[0].total >= short.devices[0].total
    assert long.host.total >= short.host.total


@given(models, asked(), gigabytes, gigabytes)
def test_more_memory_never_offloads_fewer_layers(
    facts: ModelFacts, options: FitOptions, size: int, more: int
) -> None:
    asked_for = replace(options, num_gpu="auto")
    small = fit(facts, (GpuBudget("gpu", size, size),), asked_for)
    large = fit(facts, (GpuBudget("gpu", size + more, size + more),), asked_for)
    assert large.layers_offloaded >= small.layers_offloaded


@given(
    models,
    st.lists(gigabytes, min_size=2, max_size=3),
    st.integers(0, 2),
    gigabytes,
    st.integers(512, 65_536),
)
def test_more_memory_on_one_of_several_gpus_never_makes_a_model_not_fit(
    facts: ModelFacts, sizes: list[int], place: int, more: int, num_ctx: int
) -> None:
    options = FitOptions(num_ctx=num_ctx, num_gpu="all", release="0.32.15", spread=True)
    total = 96 * GIB
    gpus = [GpuBudget(f"gpu{number}", total, size) for number, size in enumerate(sizes)]
    grown = list(gpus)
    place %= len(gpus)
    grown[place] = replace(gpus[place], free=gpus[place].free + more)
    if fit(facts, gpus, options).fits:
        assert fit(facts, grown, options).fits


@given(models, gpu_lists, asked())
def test_what_auto_finds_fits_the_gpus(
    facts: ModelFacts, gpus: tuple[GpuBudget, ...], options: FitOptions
) -> None:
    found = fit(facts, gpus, replace(options, num_gpu="auto"))
    assert all(device.total <= device.free for device in found.devices)


candidates = [
    Candidate("14b", quantization, model.names[0], model.facts)
    for quantization, model in R1.sizes["14b"].models.items()
    if model.names
]
wishes = st.builds(
    Preferences,
    num_ctx=st.sampled_from([4096, 8192, 40_960]),
    num_ctx_floor=st.sampled_from([1024, 4096]),
    release=releases,
    quantizations=st.sampled_from([None, ("Q8_0", "Q4_K_M"), ("Q4_K_M",)]),
)


@settings(deadline=None)
@given(wishes, gpu_lists)
def test_every_chosen_placement_fits_its_own_estimate(
    wanted: Preferences, gpus: tuple[GpuBudget, ...]
) -> None:
    choice = choose(candidates, gpus, wanted)
    assert choice is not None
    assert choice.estimate.fits
    assert choice.num_ctx >= wanted.num_ctx_floor
    again = fit(
        choice.candidate.facts,
        gpus,
        FitOptions(
            num_ctx=choice.num_ctx,
            num_gpu="all" if choice.full else choice.num_gpu if len(gpus) < 2 else "auto",
            num_batch=choice.num_batch,
            kv_type_k=choice.kv_type,
            kv_type_v=choice.kv_type,
            release=wanted.release,
        ),
    )
    assert again.fits
    assert again.devices == choice.estimate.devices


def rank(wanted: Preferences, gpus: tuple[GpuBudget, ...]) -> tuple[int, int, int]:
    """The place of a choice in the order of preference: way and quantisation, then context, then cache."""
    choice = choose(candidates, gpus, wanted)
    assert choice is not None
    order = [one.quantization for one in candidates if one.quantization in (wanted.quantizations or ())] or [
        "Q4_K_M",
        "Q4_K_S",
        "IQ4_XS",
        "Q3_K_L",
        "Q3_K_M",
        "IQ3_M",
        "Q3_K_S",
    ]
    if wanted.quantizations:
        order = list(wanted.quantizations)
    way = {"gpu": 0, "experts-on-host": 1, "partial": 2, "cpu": 3}[choice.way]
    return (
        way * 100 + order.index(choice.candidate.quantization),
        -choice.num_ctx,
        int(choice.kv_type != "f16"),
    )


@settings(deadline=None)
@given(wishes, gigabytes, gigabytes)
def test_more_memory_never_gives_a_worse_choice(wanted: Preferences, size: int, more: int) -> None:
    small = rank(wanted, (GpuBudget("gpu", size, size),))
    large = rank(wanted, (GpuBudget("gpu", size + more, size + more),))
    assert large <= small


@settings(deadline=None, max_examples=25)
@given(gigabytes, gigabytes)
def test_more_memory_never_gives_a_worse_recommendation(size: int, more: int) -> None:
    wanted = Preferences(release="0.32.15")

    def best(free: int) -> float:
        found = recommend((GpuBudget("gpu", free, free),), R1, wanted)
        if not found or not found[0].full:
            return float("-inf")
        return worth(found[0].candidate, wanted, found[0].num_ctx, found[0].kv_type)

    assert best(size + more) >= best(size)
