"""The tutorial's table: what people expect to run on so much memory."""

import pytest

from ollama_fleet.artifacts.families import families
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.choice import Choice, Preferences
from ollama_fleet.planner.memory import FitOptions, GpuBudget, budget_of_size, budgets_of, fit
from ollama_fleet.planner.recommendation import candidates_of, choose_size, recommend

GIB = 2**30
R1 = families()["deepseek-r1"]
WANTED = Preferences(release="0.32.15")


def recommended(*kinds: str) -> list[Choice]:
    devices = [Device.declared(kind, place) for place, kind in enumerate(kinds)]
    return recommend(budgets_of(devices), R1, WANTED)


@pytest.mark.parametrize(
    ("kinds", "size", "quantizations"),
    [
        (["rtx-4060"], "7b", {"Q4_K_M"}),
        (["rtx-3080-10gb"], "14b", {"Q4_K_S", "Q3_K_M"}),
        (["rtx-2080-ti-11gb"], "14b", {"Q4_K_S"}),
        (["rtx-3060-12gb"], "14b", {"Q4_K_M", "Q4_K_S"}),
        (["rtx-4060-ti-16gb"], "14b", {"Q4_K_M"}),
        (["rtx-2080-ti-22gb"], "32b", {"Q4_K_M", "Q4_K_S"}),
        (["rtx-4090"], "32b", {"Q4_K_M"}),
        (["rtx-5090"], "32b", {"Q4_K_M"}),
        (["l20"], "70b", {"Q4_K_M"}),
        (["a100-80gb"], "70b", {"Q4_K_M"}),
        (["rtx-3090", "rtx-3090"], "70b", {"Q4_K_M"}),
    ],
)
def test_the_tutorials_table_is_confirmed(kinds: list[str], size: str, quantizations: set[str]) -> None:
    first = recommended(*kinds)[0]
    assert first.candidate.size == size
    assert first.candidate.quantization in quantizations
    assert first.full
    assert first.estimate.fits


@pytest.mark.parametrize(
    ("gib", "size"),
    [
        (8, "7b"),
        (10, "14b"),
        (11, "14b"),
        (12, "14b"),
        (16, "14b"),
        (22, "32b"),
        (24, "32b"),
        (32, "32b"),
        (48, "70b"),
    ],
)
def test_the_table_holds_for_bare_sizes_too(gib: int, size: str) -> None:
    first = recommend((budget_of_size(gib * GIB),), R1, WANTED)[0]
    assert (first.candidate.size, first.full) == (size, True)


def test_a_4090_runs_the_32b_with_8192_tokens_as_the_tutorial_says() -> None:
    first = recommended("rtx-4090")[0]
    assert (first.num_ctx, first.kv_type) == (8192, "f16")


def test_the_three_bit_32b_does_not_fit_16_gb_with_a_desktop_and_its_lack_is_told() -> None:
    first = recommended("rtx-4060-ti-16gb")[0]
    assert first.rejected is not None
    assert first.rejected.candidate.size == "32b"
    assert first.rejected.lacks > 0
    model = R1.sizes["32b"].model("IQ3_M")
    assert model is not None
    desktop, headless = (
        fit(
            model.facts,
            budgets_of([Device.declared("rtx-4060-ti-16gb", 0)], desktop=screen),
            FitOptions(num_ctx=4096, num_batch=512, num_gpu=65, release="0.32.15"),
        )
        for screen in (True, False)
    )
    assert not desktop.fits
    assert "rtx-4060-ti-16gb lacks" in desktop.reasons[-1]
    assert desktop.lacks - headless.lacks > GIB


def test_size_auto_is_the_first_recommendation() -> None:
    gpus = budgets_of([Device.declared("rtx-4090", 0)])
    assert choose_size(gpus, candidates_of(R1), WANTED, weighed=True) == recommend(gpus, R1, WANTED)[0]


def test_each_size_is_there_once_best_first() -> None:
    found = recommended("rtx-4090")
    sizes = [choice.candidate.size for choice in found]
    assert len(sizes) == len(set(sizes))
    assert sizes[:2] == ["32b", "14b"]
    assert sizes[-1] == "1.5b"


def test_a_machine_too_small_for_any_gets_the_smallest_partly_or_on_the_cpu() -> None:
    tiny = recommend((GpuBudget("tiny", GIB, GIB),), R1, WANTED)
    none = recommend((), R1, WANTED, host_free=8 * GIB)
    assert [(choice.candidate.size, choice.full) for choice in tiny] == [("1.5b", False)]
    assert [(choice.candidate.size, choice.way) for choice in none] == [("1.5b", "cpu")]
    assert recommend((), R1, WANTED, host_free=GIB // 2) == []
