"""`ollama-fleet tune` and `bench` on a real host with a GPU that is played."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from converge.command_runs import Run
from converge.conftest import MakeFleet
from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.outputs.schemas import SCHEMAS
from ollama_sim import memory
from ollama_sim.machine import Gpu
from tuning.simulated import GIB, MARGIN, MIB, Case

pytestmark = pytest.mark.lab

SCENARIO = "/etc/ollama-sim.json"
CASE = Case("deepseek-r1:32b", 16 * GIB, 512, 0.0)
"""Whose shape the tiny model pretends to have, and whose facts stand in the lock."""
CARD = (16380 - 338 - 1) * MIB
"""Free on the recorded card."""
LAYERS = CASE.layers
PRETEND = {
    "weights_bytes": CASE.facts.total_bytes - CASE.facts.token_embd_bytes,
    "layers": LAYERS,
    "kv_bytes_per_token": 1 << 20,
    "graph_bytes": 100 * MIB,
}
SEED, NOISE = 4, 0.12


@dataclass
class Bench:
    """One host with one GPU, converged; two models in memory, one of them for ever."""

    fleet: FleetDirectory
    host: Host

    def play(self, **more: Any) -> None:
        scenario = {"pretend": {"reasoner": PRETEND}, "memory_bytes": 64 * GIB, "seed": SEED, "noise": NOISE}
        self.host.write(SCENARIO, json.dumps(scenario | more))

    def loaded(self) -> dict[str, tuple[bool, int]]:
        """What is in memory: whether for ever, and with which context."""
        with opener().open(f"http://{self.host.address}:11434/api/ps", timeout=30) as answer:
            models = json.load(answer)["models"]
        return {one["name"]: (one["expires_at"] > "2200", one["context_length"]) for one in models}

    def reachable(self) -> bool:
        try:
            self.loaded()
        except OSError:
            return False
        return True

    def load(self, model: str, keep_alive: object) -> None:
        body = json.dumps({"model": model, "keep_alive": keep_alive}).encode()
        request = urllib.request.Request(
            f"http://{self.host.address}:11434/api/generate", body, {"Content-Type": "application/json"}
        )
        with opener().open(request, timeout=30) as answer:
            answer.read()

    def tune(self, *options: str) -> Run:
        run = self.fleet.run("ollama-fleet", "tune", "tune-01", "reasoner", *options)
        assert "Traceback" not in run.text, str(run)
        return run

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(Path(self.fleet.commands) / "ollama-fleet"), *arguments],
            cwd=self.fleet.path,
            env=self.fleet.environment_of_run(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def law(growth: int, seed: int, noise: float) -> Callable[[int], int | None]:
    """What the stand-in leaves free with so many layers; None where it runs out."""
    from ollama_sim import gguf

    need = memory.footprint(
        gguf.Header({"general.architecture": "x"}),
        context=512,
        parallel=1,
        kv_type="",
        pretend=PRETEND,
        noise=memory.noise({"seed": seed, "noise": noise}, "reasoner:latest"),
    )
    gpu = Gpu("g", "g", 16380 * MIB, CARD)

    def left(layers: int) -> int | None:
        try:
            layout = memory.place(need, [gpu], {"g": CARD}, layers, output_first=False)
        except memory.DoesNotFitError:
            return None
        rest = CARD - layout.vram - memory.CONTEXT_BYTES - growth
        return rest if rest >= 0 else None

    return left


def best(growth: int = 0, seed: int = SEED, noise: float = NOISE) -> int:
    left = law(growth, seed, noise)
    return max(n for n in range(1, LAYERS + 1) if (left(n) or 0) >= MARGIN)


@pytest.fixture(scope="module")
def bench(
    lab: Lab, make_fleet: MakeFleet, base: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    host = lab.host("tune-01", firewall="nftables", gpus=["rtx-4060-ti-16gb"])
    small = tiny_gguf(tmp_path_factory.mktemp("model") / "small.gguf", seed=9)
    lab.registry.push_gguf("library/small", small)
    fleet = make_fleet(
        {
            "defaults": {
                "listen": "0.0.0.0:11434",
                "env": {"OLLAMA_KEEP_ALIVE": "30m", "OLLAMA_MAX_LOADED_MODELS": 4},
                "firewall": {"allow_from": lab.cidrs("lan")},
            },
            "models": {
                "reasoner": {"num_gpu": 5, "preload": False},
                "small": {"from": f"{lab.registry.host}/library/small:latest", "num_ctx": 256},
            },
            "hosts": {
                "tune-01": {
                    "address": host.address,
                    "gpus": ["rtx-4060-ti-16gb"],
                    "models": ["reasoner", "small"],
                }
            },
        }
    )
    # What the lock knows of the tiny model is what the stand-in pretends of it.
    file = fleet.path / "fleet.lock"
    lock = Lock.load(file)
    name = ModelName.parse(base)
    entry = lock.model(name).model_copy(update={"facts": CASE.facts.to_dict()})
    lock.with_model(name, entry).save(file)
    first = fleet.apply()
    assert first.code == 0, str(first)
    yield Bench(fleet, host)
    lab.remove(host)


@pytest.fixture(autouse=True)
def as_before(bench: Bench) -> Iterator[None]:
    """Nothing here changes what is in memory."""
    bench.play()
    bench.load("small", -1)
    bench.load("reasoner", "20m")
    before = bench.loaded()
    assert before == {"small:latest": (True, 256), "reasoner:latest": (False, 512)}
    yield
    assert bench.loaded() == before
    loading = "pgrep -f '[o]llama run'"
    wait_until(lambda: not bench.host.run(loading, check=False).stdout)
    assert not bench.host.run(loading, check=False).stdout, "somebody is left loading"
    assert bench.loaded() == before


def test_the_true_largest_value_is_found_and_the_plan_learns_it(bench: Bench) -> None:
    file = bench.fleet.path / "fleet.yaml"
    before = file.read_text()
    run = bench.tune("--json")
    assert run.code == 0, str(run)
    jsonschema.validate(run.document, SCHEMAS["tune"]())
    found = run.document["models"]["reasoner"]
    assert found["num_gpu"] == best()
    assert found["loads"] <= 4
    assert all(step["tokens_per_second"] == 40 for step in found["steps"] if step["held"])
    shown = found["memory"]
    assert abs(shown["predicted"] - shown["taken"]) <= 0.01 * shown["taken"]
    assert abs(shown["planned_before"] - shown["taken"]) > 0.03 * shown["taken"], "the law was another"
    for term in ("weights", "kv", "compute"):
        assert shown["observed"][term] != shown["planned"][term]
    assert file.read_text() == before, "only --write writes"
    assert f'"per_gpu": {{"rtx-4060-ti-16gb": {{"num_gpu": {best()}}}}}' in run.document["patch"]

    # What was measured is kept beside the lock, and plans for the same pair follow it.
    kept = yaml.safe_load((bench.fleet.path / "fleet.measured.yaml").read_text())
    (releases,) = kept["measured"].values()
    assert list(releases["0.24.0"]) == ["rtx-4060-ti-16gb"]
    last = json.loads((bench.fleet.path / "fleet.runs.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], last["model"], last["num_gpu"]) == ("tune", "reasoner", best())
    assert last["steps"] == found["steps"]
    bench.fleet.change(models={"reasoner": {"num_gpu": best()}})
    try:
        planned = json.loads(bench.fleet.run("ollama-fleet", "plan", "tune-01", "--json").stdout)
        (device,) = planned["hosts"]["tune-01"]["placements"][0]["estimate"]["devices"]
        assert abs(device["total"] - MARGIN - shown["taken"]) <= 0.01 * shown["taken"]
    finally:
        bench.fleet.change(models={"reasoner": {"num_gpu": 5}})


def test_what_was_found_is_written_and_applied(bench: Bench) -> None:
    file = bench.fleet.path / "fleet.yaml"
    before = file.read_text()
    try:
        run = bench.tune("--write")
        assert run.code == 0, str(run)
        after = file.read_text()
        document = json.loads(after)
        assert document["models"]["reasoner"].pop("per_gpu") == {"rtx-4060-ti-16gb": {"num_gpu": best()}}
        assert document == json.loads(before)
        assert sum(a != b for a, b in zip(before.splitlines(), after.splitlines(), strict=True)) == 1
        again = bench.tune("--patch")
        assert (again.code, again.stdout) == (0, ""), "it says so already"
    finally:
        file.write_text(before)


def test_an_oom_late_in_the_chat_is_backed_off_from(bench: Bench) -> None:
    bench.play(late_growth_bytes=GIB, jitter_bytes=MARGIN - 8 * MIB)
    run = bench.tune("--json")
    assert run.code == 0, str(run)
    found = run.document["models"]["reasoner"]
    assert best(GIB + MARGIN) <= found["num_gpu"] <= best(GIB) < best()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_the_true_largest_value_whatever_the_law(bench: Bench, seed: int) -> None:
    growth = random.Random(seed).choice((0, 200, 900)) * MIB
    bench.play(seed=seed, noise=0.15, late_growth_bytes=growth)
    (bench.fleet.path / "fleet.measured.yaml").unlink(missing_ok=True)
    run = bench.tune("--json")
    assert run.code == 0, str(run)
    found = run.document["models"]["reasoner"]
    assert found["num_gpu"] == best(growth, seed, 0.15)
    assert found["loads"] <= CASE.ladder.budget


COMMANDS = {
    "tune": ("tune", "tune-01", "reasoner"),
    "bench": ("bench", "tune-01", "--model", "reasoner", "--repeat", "50"),
}
MOMENTS = [
    ("tune", signal.SIGINT, 1),
    ("tune", signal.SIGTERM, 2),
    ("tune", signal.SIGKILL, 3),
    ("bench", signal.SIGINT, 4),
    *(
        pytest.param(verb, number, seed, marks=pytest.mark.soak)
        for seed in range(10, 30)
        for verb in COMMANDS
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    ),
]


@pytest.mark.parametrize(("verb", "number", "seed"), MOMENTS)
def test_an_interruption_at_any_moment_leaves_what_was_in_memory(
    bench: Bench, verb: str, number: signal.Signals, seed: int
) -> None:
    before = bench.loaded()
    bench.play(load_seconds=0.4)
    process = bench.started(*COMMANDS[verb])
    if verb == "tune":
        wait_until(lambda: bench.loaded() != before)
    else:  # names and contexts stay the same while it runs, so it shows by what it says
        assert process.stderr is not None
        process.stderr.readline()
    time.sleep(random.Random(seed).uniform(0.0, 3.0))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    if number == signal.SIGKILL:
        wait_until(lambda: bench.loaded() == before)  # the host does it by itself


@pytest.mark.soak
def test_a_cut_cable_leaves_what_was_in_memory(bench: Bench) -> None:
    before = bench.loaded()
    bench.play(load_seconds=0.4)
    process = bench.started("tune", "tune-01", "reasoner")
    wait_until(lambda: bench.loaded() != before)
    bench.host.cut_network()
    try:
        _, said = process.communicate(timeout=300)
    finally:
        bench.host.restore_network()
    assert process.returncode == 1
    assert "Traceback" not in said
    wait_until(lambda: bench.reachable() and bench.loaded() == before, 150)


def test_a_search_that_was_cut_off_goes_on(bench: Bench) -> None:
    bench.play(load_seconds=1)
    process = bench.started("tune", "tune-01", "reasoner")
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    bench.play()
    resumed = bench.tune("--json", "--resume")
    assert resumed.code == 0, str(resumed)
    steps = resumed.document["models"]["reasoner"]["steps"]
    assert f"num_gpu {steps[0]['num_gpu']}," in first
    assert steps[0]["seconds"] >= 1, "this step is the one from before"
    assert resumed.document["models"]["reasoner"]["num_gpu"] == best()


def test_bench_measures_compares_and_names_a_regression(bench: Bench, tmp_path: Path) -> None:
    options = ("bench", "tune-01", "--repeat", "2", "--fill", "0,50", "--concurrency", "1,2", "--json")
    run = bench.fleet.run("ollama-fleet", *options)
    assert run.code == 0, str(run)
    jsonschema.validate(run.document, SCHEMAS["bench"]())
    models = run.document["hosts"]["tune-01"]["models"]
    assert {(one["fill"], one["concurrency"]) for one in models["reasoner"]["runs"]} == {
        (fill, count) for fill in (0, 50) for count in (1, 2)
    }
    rates = [one["generation"] for one in models["reasoner"]["runs"]]
    assert all(rate["median"] == 40 for rate in rates)
    assert [rate["count"] for rate in rates] == [2, 4, 2, 4]

    # It is kept, and the page has the figures.
    kept = [json.loads(line) for line in (bench.fleet.path / "fleet.runs.jsonl").read_text().splitlines()]
    last = next(one for one in reversed(kept) if (one["kind"], one["model"]) == ("bench", "reasoner"))
    assert (last["host"], last["release"], last["gpus"]) == ("tune-01", "0.24.0", ["rtx-4060-ti-16gb"])
    assert [one["generation"] for one in last["runs"]] == rates
    page = bench.fleet.run("ollama-fleet", "report", "-o", "-").stdout
    for one in models["reasoner"]["runs"]:
        assert f"<td>{one['throughput']['median']}</td>" in page

    earlier = tmp_path / "before.json"
    earlier.write_text(run.stdout)
    bench.play(tokens_per_second=30)
    slower = bench.fleet.run("ollama-fleet", *options, "--compare", str(earlier))
    assert slower.code == 1
    assert (
        "REGRESSION tune-01: reasoner at 50 % fill, 1 at once: generation 40 → 30 tokens/s" in slower.stderr
    )
    earlier.write_text(slower.stdout)
    bench.play(tokens_per_second=29.9)
    same = bench.fleet.run("ollama-fleet", *options, "--compare", str(earlier))
    assert "REGRESSION tune-01: reasoner at 50 % fill, 1 at once: generation" not in same.stderr


def test_a_model_that_runs_out_of_memory_while_loading_is_told_with_advice(bench: Bench) -> None:
    bench.fleet.change(models={"reasoner": {"preload": True, "keep_alive": -1, "num_gpu": LAYERS}})
    try:
        run = bench.fleet.apply()
        assert run.code != 0
        said = " ".join(run.told("tune-01"))
        assert "the GPU ran out of memory while loading" in said
        assert "num_gpu" in said
    finally:
        bench.fleet.change(models={"reasoner": {"preload": False, "keep_alive": None, "num_gpu": 5}})
        assert bench.fleet.apply().code == 0
        bench.load("small", -1)
        bench.load("reasoner", "20m")
