"""What is wrong with a placement, from what was seen of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ollama_fleet.api.client import LoadedModel
from ollama_fleet.api.inference import Answer
from ollama_fleet.checks.engine_log import HOST, EngineLoad, Terms
from ollama_fleet.checks.evidence import Evidence, failures, remarks
from ollama_fleet.checks.verdict import memory_rows
from ollama_fleet.planner.decision import Decision
from ollama_fleet.planner.memory import DeviceMemory, Estimate, HostMemory
from ollama_fleet.spec.model_request import Candidate, Expected

MIB, GIB = 1 << 20, 1 << 30
DEVICE = DeviceMemory("rtx-4090", 18 * GIB, GIB, GIB, reserve=GIB, total=21 * GIB, free=24 * GIB)
ESTIMATE = Estimate(
    model="m",
    devices=(DEVICE,),
    host=HostMemory(GIB, 0, 0, GIB),
    layers_total=65,
    layers_offloaded=65,
    fits=True,
    confidence="high",
    reasons=(),
    num_ctx=8192,
    num_batch=512,
    flash_attention=True,
)
DECISION = Decision(Candidate(None, "m"), 8192, None, None, ESTIMATE)
LOG = EngineLoad(
    "ab", 65, 65, 0, {"CUDA0": Terms(18 * GIB, GIB, GIB), HOST: Terms(GIB)}, exact=True, started=True
)
GOOD = Evidence(
    name="m",
    decision=DECISION,
    expected=None,
    how="loaded",
    answer=Answer("Hello", "stop", 16, 5, 3.0, 0.1, 0.5),
    loaded=LoadedModel("m:latest", "ab", 20 * GIB, 20 * GIB, "", 8192),
    log=LOG,
    used_before=GIB,
    used=22 * GIB,
    claimed=20 * GIB,
    file_size=19 * GIB,
    trained=131072,
    compute=("CUDA",),
)
PARTIAL = replace(GOOD.loaded, size=22 * GIB) if GOOD.loaded else None
NARROW = replace(GOOD.loaded, context_length=4096) if GOOD.loaded else None
PLANNED_PARTIAL = replace(DECISION, estimate=replace(ESTIMATE, layers_offloaded=60))
ON_CPU = replace(GOOD.loaded, size_vram=0) if GOOD.loaded else None


def test_a_good_one_has_no_failures() -> None:
    assert failures(GOOD) == []
    assert remarks(GOOD) == []


@pytest.mark.parametrize(
    ("changed", "check", "words"),
    [
        (
            {"loaded": ON_CPU, "log": None, "compute": ("cpu",)},
            "offload",
            "found no GPU when it started (library=cpu)",
        ),
        (
            {"loaded": ON_CPU, "log": replace(LOG, offloaded=0)},
            "offload",
            "CPU fallback: it runs on the CPU alone",
        ),
        ({"log": replace(LOG, offloaded=60)}, "offload", "partial offload: 60 of 65 layers"),
        (
            {"log": replace(LOG, overflowing=5)},
            "offload",
            "65 of 65 layers are on GPUs, and 5 of them only in part",
        ),
        (
            {"log": replace(LOG, offloaded=60)},
            "false-claim",
            "says 100 % GPU, the engine's log 60 of 65 layers",
        ),
        ({"log": replace(LOG, overflowing=5)}, "false-claim", "65 of 65 layers (5 of them only in part)"),
        ({"used": 2 * GIB}, "false-claim", "on the devices only 1\u2009024 MiB more are in use"),
        ({"used": GIB // 2}, "false-claim", "on the devices only 0 MiB more"),
        ({"used_before": None, "used": GIB}, "false-claim", "models have 20\u2009480 MiB of GPU memory"),
        ({"has_devices": False, "used": None, "used_before": None}, "false-claim", "the host shows no GPU"),
        (
            {"file_size": 20 * GIB, "log": replace(LOG, places={}, offloaded=None, layers=None)},
            "false-claim",
            "its figure is the size of the file",
        ),
        (
            {"trained": None, "loaded": replace(GOOD.loaded, context_length=4096)},
            "context",
            "4096 tokens, planned are 8192",
        ),
        (
            {"log": replace(LOG, warnings=("quantized kv cache requested but flash attention disabled",))},
            "environment",
            "OLLAMA_KV_CACHE_TYPE is not in effect",
        ),
        ({"answer": replace(GOOD.answer, text="", tokens=0)}, "answer", "it answers nothing"),
        (
            {"decision": replace(DECISION, num_gpu=0, estimate=replace(ESTIMATE, layers_offloaded=0))},
            "offload",
            "it is planned for the CPU, and 100 % of it are on GPUs",
        ),
    ],
)
def test_what_is_wrong_is_told(changed: dict[str, Any], check: str, words: str) -> None:
    found = {failure.check: failure.text for failure in failures(replace(GOOD, **changed))}
    assert words in found[check], found


@pytest.mark.parametrize(
    "changed",
    [
        {"trained": 4096, "loaded": NARROW},
        {"used_before": None},
        {"used": None, "used_before": None},
        {"log": None},
        {"log": None, "log_readable": False},
        {
            "decision": replace(DECISION, estimate=None),
            "log": replace(LOG, offloaded=3, layers=65),
            "loaded": ON_CPU,
        },
        {
            "decision": replace(DECISION, estimate=replace(ESTIMATE, layers_offloaded=60)),
            "log": replace(LOG, offloaded=60),
            "loaded": replace(GOOD.loaded, size=22 * GIB),
        },
        {"loaded": None, "log": None},
    ],
)
def test_what_nobody_knows_or_was_planned_is_no_failure(changed: dict[str, Any]) -> None:
    assert failures(replace(GOOD, **changed)) == []


@pytest.mark.parametrize(
    ("expected", "changed", "words"),
    [
        (Expected(gpu_percent=100), {"log": replace(LOG, offloaded=60)}, "100 % GPU, it is 92 %"),
        (Expected(gpu_percent=80), {"log": replace(LOG, offloaded=60)}, None),
        (Expected(gpu_percent=50), {"loaded": ON_CPU}, "50 % GPU, it is 0 %"),
        (Expected(gpu_percent=50), {"loaded": None}, "nothing tells how much it is"),
        (Expected(layers=65), {}, None),
        (Expected(layers=65), {"log": replace(LOG, offloaded=64)}, "65 layers on GPUs, 64 are"),
        (Expected(layers=1), {"log": None}, "does not tell how many are"),
        (Expected(layers=1), {"log": None, "loaded": ON_CPU}, "1 layers on GPUs, 0 are"),
        (Expected(tokens_per_second=32), {}, None),
        (Expected(tokens_per_second=33), {}, "33 tokens/s, it made 32.00"),
        (Expected(tokens_per_second=33), {"answer": Answer("", "stop", 0, 5, 0, 0, 0, width=8)}, None),
        (Expected(max_vram=21 * GIB), {}, None),
        (
            Expected(max_vram=21 * GIB),
            {"used": 23 * GIB},
            "21\u2009504 MiB of GPU memory, it takes 22\u2009528 MiB",
        ),
        (Expected(max_vram=21 * GIB), {"used": None}, None),
        (
            Expected(max_vram=1),
            {"used": None, "log": None, "loaded": None},
            "nothing tells how much it takes",
        ),
    ],
)
def test_expectations(expected: Expected, changed: dict[str, Any], words: str | None) -> None:
    found = [
        one.text for one in failures(replace(GOOD, expected=expected, **changed)) if one.check == "expect"
    ]
    assert bool(found) == (words is not None), found
    assert words is None or words in found[0]


def test_silence_is_not_taken_for_proof() -> None:
    assert "no longer in the engine's log" in remarks(replace(GOOD, log=None))[0]
    assert "cannot be read" in remarks(replace(GOOD, log=None, log_readable=False))[0]
    assert "do not tell how much" in remarks(replace(GOOD, used=None))[0]


def test_measured_beside_predicted() -> None:
    rows = memory_rows(LOG.places, ESTIMATE)
    assert [row.place for row in rows] == ["CUDA0", HOST]
    assert rows[0].measured == {"weights": 18 * GIB, "kv": GIB, "compute": GIB, "total": 20 * GIB}
    assert rows[0].predicted == {"weights": 18 * GIB, "kv": GIB, "compute": GIB, "total": 20 * GIB}
    assert (rows[1].measured["total"], rows[1].predicted["total"]) == (GIB, GIB)
    assert [row.measured for row in memory_rows({}, ESTIMATE)] == [{}, {}]
    assert [row.predicted for row in memory_rows(LOG.places, None)] == [{}, {}]
    assert memory_rows({}, None) == ()
