"""What only the stand-in has: machines that are not there, and faults on demand."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.registry import Registry
from contract.server import Flavour, Server, environment, free_port, running, wait_for
from contract.stored import digest_of
from ollama_fleet.checks.engine_log import parse_loads

Start = Callable[..., AbstractContextManager[Server]]
GIB = 1 << 30
# A model of 20 layers of one GiB each, whose KV cache takes 1 MiB for a token.
BIG = {"weights_bytes": 20 * GIB, "layers": 20, "kv_bytes_per_token": 1 << 20}


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., str]:
    """Write what the machine is like; the path for OLLAMA_SIM."""
    path = tmp_path / "machine.json"

    def write(**content: Any) -> str:
        path.write_text(json.dumps(content))
        return str(path)

    write()
    return write


def gpu(memory: int, **more: Any) -> dict[str, Any]:
    return {"name": "NVIDIA GeForce RTX 4090", "memory_bytes": memory, **more}


def load(server: Server, weights: Path, model: str = "big", **options: Any) -> httpx.Response:
    """Import the tiny file once, make `model` of it, and load that."""
    if "tiny:latest" not in server.listed():
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
    server.create(model, **{"from": "tiny"})
    return server.post("/api/generate", model=model, options={"num_ctx": 512, **options})


def test_a_gpu_that_is_large_enough_takes_everything(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(24 * GIB)], pretend={"big": BIG})) as server:
        assert load(server, weights).json()["done_reason"] == "load"
        model = server.running()["big:latest"]
        assert model["size"] == model["size_vram"]
        assert 20 * GIB < model["size"] < 22 * GIB
        assert "load_tensors: offloaded 20/20 layers to GPU" in server.log
        assert server.cli("ps").stdout.splitlines()[1].split()[4:6] == ["100%", "GPU"]


def test_what_does_not_fit_goes_to_the_cpu(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    machine = scenario(gpus=[gpu(12 * GIB)], memory_bytes=64 * GIB, pretend={"*": BIG})
    with start(OLLAMA_SIM=machine) as server:
        load(server, weights)
        model = server.running()["big:latest"]
        assert 8 * GIB < model["size_vram"] < 12 * GIB < model["size"]
        offloaded = server.log.rpartition("load_tensors: offloaded ")[2].partition("/")[0]
        assert 8 <= int(offloaded) <= 11


@pytest.mark.to_0_24
def test_too_many_layers_asked_for_to_0_24(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(12 * GIB)], pretend={"*": BIG})) as server:
        answer = load(server, weights, num_gpu=20)
        words = "memory layout cannot be allocated with num_gpu = 20"
        assert (answer.status_code, answer.json()) == (500, {"error": words})
        assert server.running() == {}


@pytest.mark.from_0_30
def test_too_many_layers_asked_for_from_0_30(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(12 * GIB)], pretend={"*": BIG})) as server:
        answer = load(server, weights, num_gpu=20)
        assert answer.status_code == 500
        assert "cudaMalloc failed: out of memory" in answer.json()["error"]
        assert server.running() == {}


def test_a_context_that_is_too_large_costs_layers(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    machine = scenario(gpus=[gpu(23 * GIB)], memory_bytes=64 * GIB, pretend={"*": BIG})
    with start(OLLAMA_SIM=machine, OLLAMA_NUM_PARALLEL="16") as server:
        load(server, weights, num_ctx=512)
        model = server.running()["big:latest"]
        assert model["size_vram"] < model["size"], "512 tokens for each of 16 requests are 8 GiB of cache"
    with start(
        "quantised", OLLAMA_SIM=machine, OLLAMA_NUM_PARALLEL="16", OLLAMA_KV_CACHE_TYPE="q4_0"
    ) as server:
        load(server, weights, num_ctx=512)
        model = server.running()["big:latest"]
        assert model["size_vram"] == model["size"], "quantised to 4 bits the cache fits"


def test_two_gpus_share_a_model(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(12 * GIB), gpu(12 * GIB)], pretend={"*": BIG})) as server:
        load(server, weights)
        model = server.running()["big:latest"]
        assert model["size"] == model["size_vram"]
        assert server.log.count('msg="inference compute"') == 2
        assert "CUDA1 model buffer size" in server.log


def test_only_visible_gpus_count(start: Start, scenario: Callable[..., str]) -> None:
    machine = scenario(gpus=[gpu(12 * GIB, uuid="GPU-a"), gpu(48 * GIB, uuid="GPU-b")])
    for given, expected in (
        ("GPU-b", ["GPU-b"]),
        ("0", ["GPU-a"]),
        ("-1", ["cpu"]),
        ("1,0", ["GPU-b", "GPU-a"]),
    ):
        with start(given, OLLAMA_SIM=machine, CUDA_VISIBLE_DEVICES=given) as server:
            lines = [line for line in server.log.splitlines() if 'msg="inference compute"' in line]
            assert [line.partition(" id=")[2].split()[0] for line in lines] == expected


@pytest.mark.parametrize(("size", "context"), [(8, 4096), (24, 32768), (48, 262144)])
def test_the_default_context_follows_the_memory(
    start: Start, scenario: Callable[..., str], size: int, context: int
) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(size * GIB)])) as server:
        assert f'total_vram="{size}.0 GiB" default_num_ctx={context}' in server.log


def test_a_second_model_pushes_out_the_first(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    from lab.tiny_gguf import tiny_gguf

    with start(OLLAMA_SIM=scenario(gpus=[gpu(24 * GIB)], pretend={"*": BIG})) as server:
        load(server, weights, "first")
        other = tiny_gguf(server.home / "other.gguf", seed=1)
        server.create("second", files={"other.gguf": server.upload(other)})
        server.post("/api/generate", model="second")
        assert list(server.running()) == ["second:latest"]


def test_too_little_host_memory(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(memory_bytes=8 * GIB, pretend={"*": BIG})) as server:
        answer = load(server, weights)
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("model requires more system memory (2")
        assert answer.json()["error"].endswith("than is available (8.0 GiB)")


def test_the_law_of_memory_has_its_own_noise(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    """The same seed gives the same figure, another one another."""
    sizes = []
    for number, seed in enumerate((1, 1, 2)):
        machine = scenario(gpus=[gpu(24 * GIB)], noise=0.15, seed=seed)
        with start(str(number), OLLAMA_SIM=machine) as server:
            load(server, weights)
            sizes.append(server.running()["big:latest"]["size"])
    assert sizes[0] == sizes[1] != sizes[2]


def test_the_machine_changes_while_the_server_runs(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    with start(OLLAMA_SIM=scenario()) as server:
        load(server, weights)
        assert server.running()["big:latest"]["size_vram"] == 0
        server.post("/api/generate", model="big", keep_alive=0)
        server.wait_unloaded()
        scenario(fail_load="unable to allocate CUDA0 buffer")
        answer = server.post("/api/generate", model="big")
        assert answer.status_code == 500
        assert answer.json()["error"].endswith("unable to allocate CUDA0 buffer")


def test_memory_can_run_out_late(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(late_oom={"after_tokens": 30})) as server:
        assert load(server, weights).status_code == 200
        short = server.lines("/api/generate", model="big", prompt="hello", options={"num_predict": 4})
        assert short[-1]["done"] is True
        lines = server.lines("/api/generate", model="big", prompt="word " * 25)
        assert lines[0]["done"] is False
        words = "an error was encountered while running the model: CUDA error: out of memory"
        assert lines[-1] == {"error": words}
        server.wait_unloaded()


def test_a_full_context_takes_more_than_loading(
    start: Start, weights: Path, flavour: Flavour, scenario: Callable[..., str]
) -> None:
    """A model that loads, answers a short question, and is gone at a long one, told in each generation's words."""
    machine = scenario(
        gpus=[gpu(24 * GIB, free_bytes=22 * GIB)], pretend={"*": BIG}, late_growth_bytes=2 * GIB, seed=3
    )
    with start(OLLAMA_SIM=machine) as server:
        assert load(server, weights).status_code == 200
        short = server.post("/api/generate", model="big", prompt="hello", stream=False)
        assert short.status_code == 200
        answer = server.post("/api/generate", model="big", prompt="word " * 500)
        assert answer.status_code == 500, "nothing was said yet, so the status can still tell"
        said = answer.json()["error"]
        assert said.startswith(
            "model runner has unexpectedly stopped, this may be due to resource limitations"
        )
        assert ("CUDA error: out of memory" in said) == flavour.llama_server
        assert "CUDA error: out of memory" in server.log, "the log has the reason in every generation"
        server.wait_unloaded()


def test_the_memory_in_use_is_reported(
    start: Start, weights: Path, tmp_path: Path, scenario: Callable[..., str]
) -> None:
    used = tmp_path / "used.json"
    machine = scenario(gpus=[gpu(24 * GIB)], pretend={"*": BIG}, report_used=str(used))
    with start(OLLAMA_SIM=machine) as server:
        load(server, weights)
        vram = server.running()["big:latest"]["size_vram"]
        assert json.loads(used.read_text()) == {"0": (vram >> 20) + 280}
        server.post("/api/generate", model="big", keep_alive=0)
        server.wait_unloaded()
        wait_for(lambda: json.loads(used.read_text()) == {"0": 0}, "the memory to be given back")


def test_the_words_of_the_first_generation(
    unpacked: Callable[[str], Path], weights: Path, tmp_path: Path, scenario: Callable[..., str]
) -> None:
    first = Flavour("stand-in 0.9.6", unpacked("0.9.6"), "0.9.6", real=False)
    machine = scenario(gpus=[gpu(12 * GIB)], pretend={"*": BIG})
    with running(first, tmp_path / "home", OLLAMA_SIM=machine) as server:
        answer = load(server, weights, num_gpu=20)
        words = "llama runner process has terminated: cudaMalloc failed: out of memory"
        assert (answer.status_code, answer.json()) == (500, {"error": words})


def test_ps_can_lie_about_the_gpu(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    machine = scenario(gpus=[gpu(8 * GIB)], memory_bytes=64 * GIB, pretend={"*": BIG}, claim_full_gpu=True)
    with start(OLLAMA_SIM=machine) as server:
        load(server, weights)
        model = server.running()["big:latest"]
        assert model["size"] == model["size_vram"] > 8 * GIB


def test_a_figure_can_be_measured_by_nobody(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(8 * GIB)], unparsed_buffers=True)) as server:
        load(server, weights)
        model = server.running()["big:latest"]
        file = server.blob_path(server.manifest("big")["layers"][0]["digest"])
        assert model["size"] == model["size_vram"] == file.stat().st_size
        assert "buffer size" not in server.log


@pytest.mark.to_0_24
def test_ollamas_own_engine_has_its_own_words(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    machine = scenario(gpus=[gpu(12 * GIB)], memory_bytes=64 * GIB, pretend={"*": BIG}, ollama_engine=True)
    with start(OLLAMA_SIM=machine) as server:
        load(server, weights)
        (found,) = parse_loads(server.log.splitlines())
        assert 'layers to GPU"' in server.log
        assert "load_tensors" not in server.log
        assert found.layers == 20
        assert found.offloaded is not None
        assert 8 <= found.offloaded <= 11
        assert not found.exact
        assert found.vram == pytest.approx(server.running()["big:latest"]["size_vram"], rel=0.02)


def test_a_load_can_take_long_or_for_ever(start: Start, weights: Path, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(load_seconds=0.4)) as server:
        load(server, weights)
        server.post("/api/generate", model="big", keep_alive=0)
        server.wait_unloaded()
        body = {"prompt": "hello", "options": {"num_predict": 1}}
        assert server.lines("/api/generate", model="big", **body)[-1]["load_duration"] >= 400_000_000
        server.post("/api/generate", model="big", keep_alive=0)
        server.wait_unloaded()
        scenario(hang_load=True)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/generate", json={"model": "big"}, timeout=0.3, trust_env=False)
        assert server.get("/api/version")["version"] == server.flavour.version


def test_a_load_is_not_begun_for_a_client_that_has_gone(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    machine = scenario(gpus=[gpu(64 * GIB)], pretend={"*": BIG}, load_seconds=1)
    with start(OLLAMA_SIM=machine) as server:
        server.create("tiny", files={"tiny.gguf": server.upload(weights)})
        with asking(server, num_gpu=5) as first:
            with asking(server, num_gpu=7):
                pass  # goes before its turn has come
            assert first.recv(12) == b"HTTP/1.1 200"
        server.post("/api/generate", model="tiny", options={"num_gpu": 5})
        assert server.log.count("loaded runners") == 1


def asking(server: Server, **options: int) -> socket.socket:
    """A connection on which a model has been asked for, and nothing been read yet."""
    body = json.dumps({"model": "tiny", "options": options})
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    head = f"POST /api/generate HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    return connection


def test_the_cpu_is_all_there_is_without_layers(
    start: Start, weights: Path, scenario: Callable[..., str]
) -> None:
    with start(OLLAMA_SIM=scenario(gpus=[gpu(8 * GIB)])) as server:
        load(server, weights, num_gpu=0)
        assert server.running()["big:latest"]["size_vram"] == 0
        assert "layers to GPU" not in server.log


def test_an_endpoint_can_hang_while_others_answer(start: Start, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(hang=["/api/tags"])) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/api/tags", timeout=0.3, trust_env=False)
        assert server.get("/api/version")["version"] == server.flavour.version


def test_an_endpoint_can_fail(start: Start, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(errors={"/api/ps": [503, "boom"]})) as server:
        answer = server.http.get("/api/ps")
        assert (answer.status_code, answer.json()) == (503, {"error": "boom"})


def test_the_version_can_be_another_than_the_files(start: Start, scenario: Callable[..., str]) -> None:
    with start(OLLAMA_SIM=scenario(version_lie="0.0.0")) as server:
        assert server.get("/api/version") == {"version": "0.0.0"}
        said = server.cli("--version").stdout
        assert said == f"ollama version is 0.0.0\nWarning: client version is {server.flavour.version}\n"


def test_the_start_can_fail(flavour: Flavour, tmp_path: Path, scenario: Callable[..., str]) -> None:
    env = environment(tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}", OLLAMA_SIM=scenario(start="exit"))
    said = flavour.run("serve", env=env)
    assert said.returncode == 1
    assert said.stderr.startswith("Error: ")


def test_a_pull_can_break_and_goes_on_later(
    start: Start, weights: Path, registry: Registry, scenario: Callable[..., str]
) -> None:
    registry.add("library/tiny:latest", weights.read_bytes())
    name = registry.name("library/tiny:latest")
    broken = {"fail_after_bytes": 150_000, "retry_scale": 0}
    with start(OLLAMA_SIM=scenario(pull=broken)) as server:
        assert server.lines("/api/pull", model=name, insecure=True)[-1] == {
            "error": "max retries exceeded: unexpected EOF"
        }
        note = server.blob_path(digest_of(weights.read_bytes())).name + "-partial-0"
        done = json.loads((server.models / "blobs" / note).read_text())["Completed"]
        assert 0 < done <= 150_000
        scenario()
        assert server.lines("/api/pull", model=name, insecure=True)[-1] == {"status": "success"}
        assert f"bytes={done}-{weights.stat().st_size - 1}" in registry.asked("GET", "/blobs/")


def test_a_pull_can_be_slow(
    start: Start, weights: Path, registry: Registry, scenario: Callable[..., str]
) -> None:
    registry.add("library/tiny:latest", weights.read_bytes())
    with start(OLLAMA_SIM=scenario(pull={"bytes_per_second": 400_000})) as server:
        lines = server.lines("/api/pull", model=registry.name("library/tiny:latest"), insecure=True)
        assert lines[-1] == {"status": "success"}
        shown = {
            line["completed"]
            for line in lines
            if line.get("total") == weights.stat().st_size and "completed" in line
        }
        assert len(shown) > 2, "progress is seen on the way"
