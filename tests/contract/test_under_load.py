"""Trials, benchmarks and the putting back of models, against the programs that they are made for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator, Iterator

import pytest

from contract.server import Server, wait_for
from ollama_fleet.api.client import Ollama
from ollama_fleet.api.transport import open_direct
from ollama_fleet.artifacts.families import find_model
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.checks.benching import Pattern, bench
from ollama_fleet.checks.observation import Observation
from ollama_fleet.checks.residents import as_before
from ollama_fleet.checks.stable_trial import Bench, TimeIsUp
from ollama_fleet.checks.tether import ALIVE, DONE, script
from ollama_fleet.planner.memory import Estimate, FitOptions, fit

pytestmark = pytest.mark.contract


@pytest.fixture
def client(server: Server) -> Iterator[Ollama]:
    with Ollama("127.0.0.1", server.port, open_direct) as ollama:
        yield ollama


@pytest.fixture
def on_cpu() -> Estimate:
    model = find_model(ModelName.parse("deepseek-r1:1.5b"))
    assert model is not None
    return fit(model.facts, [], FitOptions(num_ctx=256, num_gpu=0))


def trial(client: Ollama, problems: list[str], seconds: float = 120) -> Generator[Bench]:
    with as_before(client, int(time.time()), problems) as residents:
        yield Bench(
            server=client,
            residents=residents,
            observe=lambda _: Observation(None, "", int(time.time()), (), None),
            model=ModelName.parse("tiny"),
            blob=None,
            room=(),
            base=(),
            kv_type="f16",
            deadline=time.monotonic() + seconds,
            timeout=60,
            turns=2,
        )


def test_a_setting_is_tried_with_a_full_context_and_leaves_no_trace(
    server: Server, client: Ollama, tiny: str, on_cpu: Estimate
) -> None:
    server.create("other", **{"from": tiny}, parameters={"num_ctx": 64})
    server.post("/api/generate", model="other", keep_alive=-1)
    problems: list[str] = []
    for setting in trial(client, problems):
        step, _ = setting.run(0, 128, None, on_cpu)
        assert server.running() == {}
    assert step.held, step.reason
    assert step.taken is None, "there is no GPU"
    for rate in (step.tokens_per_second, step.full_tokens_per_second, step.prompt_tokens_per_second):
        assert rate is not None
        assert rate > 0
    assert problems == []
    (model,) = server.running().values()
    assert (model["name"], model["context_length"], model["expires_at"] > "2200") == (
        "other:latest",
        64,
        True,
    )


def test_when_the_time_is_up_everything_is_put_back(
    server: Server, client: Ollama, tiny: str, on_cpu: Estimate
) -> None:
    server.post("/api/generate", model=tiny, keep_alive="9m", options={"num_ctx": 64})
    setting = trial(client, [], seconds=0)
    with pytest.raises(TimeIsUp):
        next(setting).run(0, 256, None, on_cpu)
    setting.close()
    assert [model["context_length"] for model in server.running().values()] == [64]


def test_a_benchmark_reads_and_writes_at_every_fill(server: Server, tiny: str) -> None:
    server.create("long", **{"from": tiny}, parameters={"num_ctx": 256})
    pattern = Pattern(fills=(0, 90), concurrencies=(1, 2), repeat=1, answer=8)
    runs = bench(
        lambda: Ollama("127.0.0.1", server.port, open_direct), "long", 256, pattern, told=lambda _: None
    )
    assert [(run.fill, run.concurrency) for run in runs] == [
        (fill, count) for fill in pattern.fills for count in pattern.concurrencies
    ]
    for run in runs:
        assert run.prompt is not None
        assert run.generation is not None
        assert run.throughput is not None
        assert run.generation.count == run.concurrency
        assert run.generation.low <= run.generation.median <= run.generation.high


@pytest.mark.parametrize("farewell", [b"", ALIVE, DONE, ALIVE + DONE])
def test_the_host_puts_models_back_by_itself_unless_all_is_well(
    server: Server, client: Ollama, tiny: str, farewell: bytes
) -> None:
    """What a controller that is killed leaves behind: its channel is closed, and that is all."""
    server.post("/api/generate", model=tiny, keep_alive=-1)
    server.create("other", **{"from": tiny}, parameters={"num_ctx": 64})
    before = client.loaded()
    text = script(str(server.flavour.binary), f"127.0.0.1:{server.port}", before, ["other:latest"])
    shell = subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.PIPE, env=server.env)
    server.post("/api/generate", model=tiny, keep_alive=0)
    server.wait_unloaded()
    server.post("/api/generate", model="other")
    assert shell.stdin is not None
    shell.stdin.write(farewell)
    shell.stdin.close()
    shell.wait(60)
    expected = ["other:latest"] if farewell.endswith(DONE) else ["tiny:latest"]
    wait_for(lambda: list(server.running()) == expected, f"{expected} in memory")
    if expected == ["tiny:latest"]:
        assert server.running()["tiny:latest"]["expires_at"] > "2200"
