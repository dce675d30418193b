"""What people read of a tuning: every step with its rate, the result, and how far the plan was off."""

from __future__ import annotations

import pytest

from ollama_fleet.artifacts.measured import Measurement, Terms
from ollama_fleet.checks.trial_steps import Step, Tuned
from ollama_fleet.outputs.console import console
from ollama_fleet.outputs.tuning import memory_table, result_lines, step_line, step_table

GIB = 2**30
STEPS = (
    Step(46, 4096, True, "", (15 * GIB,), 1.62, 1.5, 90.0, 62.0),
    Step(50, 4096, False, "the GPU ran out of memory while loading", None, None, None, None, 30.2),
)
MEASURED = Measurement(
    model="deepseek-r1:32b",
    num_gpu=46,
    num_ctx=4096,
    kv_cache_type="f16",
    planned=Terms(weights=10 * GIB, kv=2 * GIB, compute=1 * GIB),
    observed=Terms(weights=11 * GIB, kv=2 * GIB, compute=1 * GIB),
    beside=300 << 20,
)
TUNED = Tuned(
    "reasoner",
    "deepseek-r1:32b",
    65,
    STEPS,
    46,
    4096,
    measurement=MEASURED,
    planned_before=14 * GIB,
    predicted=15 * GIB,
    taken=15 * GIB,
)


def test_the_table_shows_each_step_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(step_table(TUNED))
    _, held, failed = capsys.readouterr().out.splitlines()
    assert held.split() == ["46/65", "4096", "15.0", "GiB", "1.62", "1.5", "90", "←", "holds"]
    assert failed.split()[:3] == ["50/65", "4096", "?"]
    assert failed.rstrip().endswith("the GPU ran out of memory while loading")


def test_planned_and_measured_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(memory_table(MEASURED))
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["weights"] == ["10240", "11264", "+10.0%"]
    assert rows["beside"] == ["300"]


def test_the_result_in_words() -> None:
    assert result_lines(TUNED) == [
        "reasoner: num_gpu 46 of 65, num_ctx 4096, found with 2 loads",
        "reasoner: the plan was off by -6.7%; with what was measured by +0.0%",
    ]
    assert (
        step_line("reasoner", STEPS[0]) == "reasoner: num_gpu 46, num_ctx 4096: holds, 1.62 tokens/s (62 s)"
    )
    assert "does not hold: the GPU ran out" in step_line("reasoner", STEPS[1])


def test_a_step_survives_its_file() -> None:
    assert [Step.from_dict(step.to_dict()) for step in STEPS] == list(STEPS)
