"""The range of the token rate."""

from ollama_fleet.artifacts.families import families
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.planner.memory import FitOptions, GpuBudget, fit
from ollama_fleet.planner.speed import SpeedRange, active_bytes, token_rate

GIB = 2**30


def r1(size: str) -> ModelFacts:
    model = families()["deepseek-r1"].sizes[size].model("Q4_K_M")
    assert model is not None
    return model.facts


def rate(
    size: str, *bandwidths: float, num_gpu: int = 999, host: float = 0, num_ctx: int = 4096
) -> SpeedRange | None:
    gpus = tuple(GpuBudget(f"gpu{n}", 999 * GIB, 999 * GIB, int(b * 1e9)) for n, b in enumerate(bandwidths))
    facts = r1(size)
    found = fit(facts, gpus, FitOptions(num_ctx=num_ctx, num_gpu=num_gpu, release="0.32.15", spread=True))
    return token_rate(facts, found, gpus, int(host * 1e9))


def test_published_rates_lie_in_the_range() -> None:
    # RTX 5070 (672 GB/s): 105.3 tokens/s with the 7b, 56.4 with the 14b; RTX 3090s: 16.9 with a 70b.
    for size, bandwidths, measured in (
        ("7b", [672], 105.3),
        ("14b", [672], 56.44),
        ("70b", [936] * 4, 16.89),
    ):
        found = rate(size, *bandwidths)
        assert found is not None
        assert measured in found


def test_gpus_take_turns_so_more_of_them_are_not_faster() -> None:
    one, two = rate("7b", 900), rate("7b", 900, 900)
    assert one is not None
    assert two is not None
    assert abs(two.expected / one.expected - 1) < 0.01


def test_layers_on_the_host_slow_it_down_to_the_hosts_memory() -> None:
    whole, half, none = (
        rate("7b", 900),
        rate("7b", 900, num_gpu=14, host=50),
        rate("7b", 900, num_gpu=0, host=50),
    )
    assert whole is not None
    assert half is not None
    assert none is not None
    assert whole.low > half.high > none.expected


def test_an_unknown_bandwidth_gives_no_range_rather_than_a_guess() -> None:
    assert rate("7b", 0) is None
    assert rate("7b", 900, num_gpu=14) is None


def test_a_mixture_reads_only_the_experts_in_use() -> None:
    facts = r1("671b")
    assert facts.experts is not None
    # 37 of 671 billion parameters are read for a token, of which 0.9 are the input embedding.
    assert 0.05 < active_bytes(facts) / facts.total_bytes < 0.06
