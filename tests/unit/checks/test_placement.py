"""What `/api/ps` says of a model against where the plan puts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ollama_fleet.api.client import LoadedModel
from ollama_fleet.api.inference import Answer
from ollama_fleet.checks.placement import gpu_percent, misplaced, silence
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.memory import Estimate, HostMemory
from ollama_fleet.spec.forms import Candidate

GIB = 1 << 30
ESTIMATE = Estimate(
    model="m",
    devices=(),
    host=HostMemory(0, 0, 0, 0),
    layers_total=33,
    layers_offloaded=33,
    fits=True,
    confidence="high",
    reasons=(),
    num_ctx=4096,
    num_batch=512,
    flash_attention=True,
)
FULL = Decision(Candidate(None, "m"), 4096, None, None, ESTIMATE)
PARTIAL = replace(FULL, estimate=replace(ESTIMATE, layers_offloaded=20))
CPU = replace(FULL, estimate=replace(ESTIMATE, layers_offloaded=0))
UNKNOWN = replace(FULL, estimate=None)


def loaded(size: int, vram: int) -> LoadedModel:
    return LoadedModel("m:latest", "ab", size, vram, "")


@pytest.mark.parametrize(
    ("there", "decision", "words"),
    [
        (loaded(10 * GIB, 10 * GIB), FULL, None),
        (loaded(10 * GIB, 0), FULL, "runs on the CPU, planned are 33 of 33"),
        (loaded(10 * GIB, 9 * GIB), FULL, "only 90 % of it"),
        (loaded(10 * GIB, 6 * GIB), PARTIAL, None),
        (loaded(10 * GIB, 0), PARTIAL, "planned are 20 of 33"),
        (loaded(10 * GIB, 0), CPU, None),
        (loaded(10 * GIB, 0), UNKNOWN, None),
        (None, FULL, None),
    ],
)
def test_where_a_model_is(there: LoadedModel | None, decision: Decision, words: str | None) -> None:
    found = misplaced("m", there, decision)
    assert bool(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_part_on_the_cpu_may_be_let_pass() -> None:
    assert misplaced("m", loaded(10 * GIB, 9 * GIB), FULL, partly=False) == []
    assert misplaced("m", loaded(10 * GIB, 0), FULL, partly=False)


def test_the_share_is_rounded_as_ollama_ps_does() -> None:
    assert [gpu_percent(loaded(1000, vram)) for vram in (0, 4, 995, 996, 1000, 2000)] == [
        0,
        0,
        100,
        100,
        100,
        100,
    ]
    assert gpu_percent(loaded(0, 0)) == 0


def test_an_answer_must_say_something() -> None:
    empty = Answer("", "stop", 0, 3, 0.1, 0.1, 0.0)
    assert silence("m", empty) == ["m: it answers nothing"]
    assert silence("m", replace(empty, width=8)) == silence("m", replace(empty, tokens=1)) == []
