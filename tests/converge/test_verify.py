"""`ollama-fleet verify` on a real host with a GPU that is played: right, and wrong in every way that is known."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from converge.command_runs import Run
from converge.conftest import MakeFleet
from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

MIB, GIB = 1 << 20, 1 << 30
SCENARIO = "/etc/ollama-sim.json"
LAYERS = 3
"""Of the tiny model: two, and the output."""
BIG = {"*": {"weights_bytes": 20 * GIB, "layers": LAYERS, "kv_bytes_per_token": 1024}}
"""More than the card has; two of the three layers fit."""
RESIDENT = {"reasoner:latest": (True, 512)}
"""What is in memory between the tests: for ever, and with which context."""
MANIFESTS = "/usr/share/ollama/.ollama/models/manifests"
ENVIRONMENT = "/etc/ollama-fleet/environment"


@dataclass
class Bench:
    """One host with one GPU, converged, whose state the tests change."""

    fleet: FleetDirectory
    host: Host
    lab: Lab

    def play(self, **scenario: Any) -> None:
        """Change the machine that the stand-in plays; nothing at all is the machine as it is."""
        if scenario:
            self.host.write(SCENARIO, json.dumps(scenario))
        else:
            self.host.run(["rm", "-f", SCENARIO])

    def restart(self) -> None:
        self.host.run(["systemctl", "restart", "ollama"])
        for _ in range(100):
            if self.host.run(["/usr/local/bin/ollama", "list"], check=False).returncode == 0:
                return
        raise AssertionError("no answer after the restart")

    def reload(self) -> None:
        """Load the preloaded model anew, as the machine is now."""
        self.post("/api/generate", {"model": "reasoner", "keep_alive": 0})
        while self.loaded():
            time.sleep(0.02)
        self.post("/api/generate", {"model": "reasoner", "keep_alive": -1})

    def post(self, path: str, body: object) -> None:
        request = urllib.request.Request(
            f"http://{self.host.address}:11434{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            answer.read()

    def loaded(self) -> dict[str, tuple[bool, int]]:
        """What is in memory: whether for ever, and with which context."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://{self.host.address}:11434/api/ps", timeout=30
        ) as answer:
            models = json.load(answer)["models"]
        return {one["name"]: (one["expires_at"] > "2200", one["context_length"]) for one in models}

    def verify(self, *options: str) -> Run:
        return self.fleet.run("ollama-fleet", "verify", "--json", *options)

    def wrong(self, *options: str) -> list[tuple[str, str]]:
        """What is wrong: the checks that found it, and their words. The command must have said so by its exit code."""
        run = self.verify(*options)
        host = run.document["hosts"][self.host.name]
        found = [*host["failures"], *(f for one in host["placements"].values() for f in one["failures"])]
        assert run.code == (1 if found else 0), str(run)
        assert "Traceback" not in run.text
        return [(one["check"], one["text"]) for one in found]


@pytest.fixture(scope="module")
def bench(
    lab: Lab, make_fleet: MakeFleet, base: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    host = lab.host("verify-01", firewall="nftables", gpus=["rtx-4060-ti-16gb"])
    vectors = tiny_gguf(tmp_path_factory.mktemp("model") / "vectors.gguf", embedding=True, seed=5)
    lab.registry.push_gguf("library/vectors", vectors)
    fleet = make_fleet(
        {
            "defaults": {
                "listen": "0.0.0.0:11434",
                # Without pruning a manifest that is put back finds its layers again.
                "env": {"OLLAMA_KEEP_ALIVE": "30m", "OLLAMA_MAX_LOADED_MODELS": 4, "OLLAMA_NOPRUNE": True},
                "firewall": {"allow_from": lab.cidrs("lan")},
            },
            "models": {
                "reasoner": {
                    "num_gpu": "engine",
                    "keep_alive": -1,
                    "expect": {
                        "gpu_percent": 100,
                        "layers": LAYERS,
                        "tokens_per_second": 20,
                        "max_vram": "2GiB",
                    },
                },
                "twin": {"from": base, "num_ctx": 256},
                "vectors": {"from": f"{lab.registry.host}/library/vectors:latest", "num_ctx": 512},
            },
            "hosts": {
                "verify-01": {"address": host.address, "models": ["reasoner", "twin", "vectors"]},
            },
        }
    )
    first = fleet.apply()
    assert first.code == 0, str(first)
    yield Bench(fleet, host, lab)
    lab.remove(host)


@pytest.fixture(autouse=True)
def as_before(bench: Bench) -> Iterator[None]:
    """No verification changes what is in memory, whatever it finds; the next test begins with a fresh load."""
    assert bench.loaded() == RESIDENT
    yield
    assert bench.loaded() == RESIDENT
    bench.play()
    bench.reload()


@contextmanager
def put_back(bench: Bench, *paths: str) -> Iterator[None]:
    """Write files of the host as they were, at the end."""
    kept = {path: bench.host.read_bytes(path) for path in paths}
    try:
        yield
    finally:
        for path, content in kept.items():
            bench.host.run(["tee", path], stdin=content.decode())


def test_a_host_that_is_right(bench: Bench) -> None:
    bench.play(load_seconds=0.3)
    run = bench.verify("--depth", "full")
    assert run.code == 0, str(run)
    assert run.document["version"] == 1
    host = run.document["hosts"]["verify-01"]
    assert host["ok"] is True
    assert "should be open" in host["outside"][0]
    assert host["remarks"] == []
    reasoner = host["placements"]["reasoner:latest"]
    assert reasoner["how"] == "loaded"
    assert reasoner["layers"] == {"total": LAYERS, "offloaded": LAYERS, "overflowing": 0, "planned": LAYERS}
    assert reasoner["gpu_percent"] == 100
    assert reasoner["num_ctx"] == 512
    assert 20 < reasoner["tokens_per_second"] < 60
    used = reasoner["device_memory"]
    assert reasoner["size_vram"] // MIB <= (used["after"] - used["before"]) // MIB
    rows = {row["place"]: row for row in reasoner["memory"]}
    assert rows["CUDA0"]["measured"]["total"] == pytest.approx(reasoner["size_vram"], abs=0.1 * MIB)
    for term in ("weights", "kv", "compute"):
        assert rows["CUDA0"]["measured"][term] > 0
        assert rows["CUDA0"]["predicted"][term] > 0
    assert host["placements"]["vectors:latest"]["tokens_per_second"] is None
    assert host["placements"]["vectors:latest"]["ok"] is True


def test_looking_without_loading_leaves_models_alone(bench: Bench) -> None:
    mark = bench.host.mark()
    assert bench.wrong("--depth", "quick") == []
    assert bench.host.ssh_sessions(since=mark) == ["exec"]


def test_cpu_fallback(bench: Bench) -> None:
    """After a driver update the server finds no GPU, and answers all the same."""
    bench.play(gpus=[])
    bench.restart()
    bench.reload()
    found = bench.wrong("--depth", "full")
    text = dict(reversed(found))["offload"]
    assert (
        "reasoner:latest: CPU fallback: it runs on the CPU alone, planned are 3 of 3 layers on GPUs" in text
    )
    assert "library=cpu" in text
    assert any("expected are 100 % GPU, it is 0 %" in words for _, words in found)
    assert {check for check, _ in found} == {"offload", "expect"}
    bench.play()
    bench.restart()
    bench.reload()


def test_partial_offload(bench: Bench) -> None:
    bench.play(pretend=BIG, memory_bytes=64 * GIB)
    found = bench.wrong("--depth", "full")
    words = [text for check, text in found if check == "offload"]
    assert "reasoner:latest: partial offload: 2 of 3 layers are on GPUs, planned are 3 of 3" in words[0]
    assert "reasoner:latest: expected are 3 layers on GPUs, 2 are" in dict.fromkeys(text for _, text in found)
    assert any("expected is at most 2\u2009048 MiB of GPU memory" in text for _, text in found)
    assert "false-claim" not in dict(found)


def test_false_100_percent(bench: Bench) -> None:
    bench.play(pretend=BIG, memory_bytes=64 * GIB, claim_full_gpu=True)
    found = bench.wrong("--depth", "full")
    assert (
        "false 100 % GPU: /api/ps says 100 % GPU, the engine's log 2 of 3 layers"
        in dict(found)["false-claim"]
    )
    assert any("expected are 100 % GPU, it is 67 %" in text for _, text in found)


def test_a_claim_that_the_devices_deny(bench: Bench) -> None:
    """The engine runs on the host's memory, and everything that it says is of a GPU."""
    bench.play(pretend={"*": {"weights_bytes": 4 * GIB, "layers": LAYERS}}, report_used="/dev/null/nowhere")
    found = bench.wrong("--depth", "full")
    text = dict(found)["false-claim"]
    assert "/api/ps says 100 % GPU" in text
    assert "but on the devices only 0 MiB more are in use" in text


def test_wrong_parameters(bench: Bench, base: str) -> None:
    with put_back(bench, f"{MANIFESTS}/registry.ollama.ai/library/reasoner/latest"):
        bench.post("/api/create", {"model": "reasoner", "from": base, "parameters": {"num_ctx": 128}})
        found = bench.wrong()
        text = dict(found)["model"]
        assert "model reasoner:latest is not right" in text
        assert "num_ctx" in text
        assert "128" in text
        assert any("its context is 128 tokens, planned are 512" in words for _, words in found)


def test_environment_not_in_effect(bench: Bench) -> None:
    with put_back(bench, ENVIRONMENT):
        bench.host.run(["sed", "-i", "s/30m/7m/", ENVIRONMENT])
        bench.restart()
    bench.reload()
    ((check, text),) = bench.wrong()
    assert check == "environment"
    assert "OLLAMA_KEEP_ALIVE in effect" in text
    assert "7m" in text
    bench.restart()
    bench.reload()


def test_an_api_that_hangs(bench: Bench) -> None:
    bench.play(hang=["/api/generate"])
    ((check, text),) = bench.wrong("--timeout", "2")
    assert check == "answer"
    assert "the API hangs" in text


def test_errors_inside_an_answer_that_began_well(bench: Bench) -> None:
    bench.play(late_oom={"after_tokens": 8})
    found = bench.wrong("--depth", "full")
    assert found[0][0] == "answer"
    assert "the GPU ran out of memory while it answered" in found[0][1]
    assert "CUDA error: out of memory" in found[0][1]


def test_wrong_digest(bench: Bench, base: str) -> None:
    with put_back(bench, f"{MANIFESTS}/{base.replace(':latest', '/latest')}"):
        bench.post("/api/copy", {"source": "reasoner", "destination": base})
        ((check, text),) = bench.wrong("--depth", "quick")
        assert check == "base"
        assert base.removesuffix(":latest") in text
        assert "content" in text
        assert "sha256:" in text


def test_port_closed(bench: Bench) -> None:
    with rules(bench, "insert rule inet filter input iifname != lo tcp dport 11434 reject with tcp reset"):
        ((check, text),) = bench.wrong("--depth", "quick")
        assert check == "port"
        assert f"{bench.host.address}:11434 does not answer from here" in text


def test_port_open_too_wide(bench: Bench) -> None:
    """The firewall lets this machine through, which it should no longer."""
    bench.fleet.change(defaults={"firewall": {"allow_from": bench.lab.cidrs("office")}})
    try:
        found = dict(bench.wrong("--depth", "quick"))
        assert found.keys() == {"firewall", "port"}
        assert (
            f"{bench.host.address}:11434 is open to this machine, which no allow_from covers" in found["port"]
        )
        with rules(bench, "insert rule inet filter input iifname != lo tcp dport 11434 drop"):
            shut = bench.verify("--depth", "quick").document["hosts"]["verify-01"]
            assert "the port is shut, and should be shut" in shut["outside"][0]
            assert [failure["check"] for failure in shut["failures"]] == ["firewall"]
    finally:
        bench.fleet.change(defaults={"firewall": {"allow_from": bench.lab.cidrs("lan")}})


@contextmanager
def rules(bench: Bench, more: str) -> Iterator[None]:
    """Add a rule to the host's firewall for a while."""
    bench.host.run(f"nft list ruleset >/run/rules; nft {more}")
    try:
        yield
    finally:
        bench.host.run("nft flush ruleset; nft -f /run/rules")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_leaves_what_was_in_memory(bench: Bench, number: signal.Signals) -> None:
    """In the middle of a load, with the pinned model taken out for its twin."""
    bench.play(load_seconds=1.5)
    process = _started(bench, "verify", "--depth", "full")
    _wait_for(lambda: "reasoner:latest" not in bench.loaded())
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in (0, None), said
    assert "Traceback" not in said
    if number == signal.SIGKILL:
        _wait_for(lambda: bench.loaded() == RESIDENT)  # by the host itself, once it hears nothing any more
    assert bench.loaded() == RESIDENT


def _started(bench: Bench, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(bench.fleet.commands) / "ollama-fleet"), *arguments],
        cwd=bench.fleet.path,
        env=bench.fleet.environment_of_run(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
