"""`ollama-fleet plan`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ollama_fleet.spec.fleet import Fleet
from unit.cli.command import document, refused, run

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
FLEET = """\
version: 1
release: {version: 0.32.15}
defaults:
  env: {OLLAMA_KV_CACHE_TYPE: q8_0, OLLAMA_FLASH_ATTENTION: true}
models:
  reasoner:
    from: deepseek-r1:32b
    quantization: auto
    num_ctx: 8192
    num_ctx_min: 4096
    num_gpu: auto
    preload: true
    variants: {IQ3_M: 'hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M'}
    per_gpu:
      rtx-4060-ti-16gb: {quantization: IQ3_M, num_gpu: 60, num_ctx: 4096}
  large: {from: 'deepseek-r1:70b', num_ctx: 8192, num_gpu: 81}
groups:
  rack: {hosts: [gpu-01, gpu-02], models: [reasoner]}
hosts:
  gpu-01: {gpus: [rtx-4090]}
  gpu-02: {gpus: [rtx-4060-ti-16gb]}
  who-knows: {models: [reasoner]}
  empty: {gpus: []}
"""
NO_ROOM = FLEET.replace("gpu-01: {", "gpu-01: {models: [large], ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def test_table(folder: Path) -> None:
    done = run("plan", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    head, first, second, unknown, empty = done.stdout.splitlines()[:5]
    assert head.split() == ["host", "model", "from", "num_ctx", "num_gpu", "memory", "fits", "speed"]
    assert first.split()[:6] == ["gpu-01", "reasoner", "deepseek-r1:32b", "8192", "65/65", "(engine)"]
    assert second.split()[:5] == [
        "gpu-02",
        "reasoner",
        "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M",
        "4096",
        "60/65",
    ]
    assert second.endswith(" yes")
    assert unknown.split() == ["who-knows", "GPUs", "unknown"]
    assert empty.split() == ["empty", "no", "models"]


def test_json(folder: Path) -> None:
    plan = document("plan", cwd=folder)

    assert plan["version"] == 1
    assert list(plan["hosts"]) == ["gpu-01", "gpu-02", "who-knows", "empty"]
    assert plan["hosts"]["who-knows"] == {"gpus": None, "error": None, "fits": True, "placements": []}
    assert plan["hosts"]["empty"] == {"gpus": [], "error": None, "fits": True, "placements": []}
    (placement,) = plan["hosts"]["gpu-02"]["placements"]
    assert placement["base"] == "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M"
    assert [
        placement[key] for key in ("model", "quantization", "num_ctx", "num_gpu", "num_batch", "preload")
    ] == [
        "reasoner",
        "IQ3_M",
        4096,
        60,
        None,
        True,
    ]
    assert placement["estimate"]["fits"] is True
    (device,) = placement["estimate"]["devices"]
    assert device["total"] == sum(device[term] for term in ("weights", "kv", "compute", "reserve"))
    assert placement["remarks"] == []
    (chosen,) = plan["hosts"]["gpu-01"]["placements"]
    # The newer engine places layers better than a number can; the batch that was reckoned with is written.
    assert (chosen["quantization"], chosen["num_gpu"], chosen["num_batch"]) == ("Q4_K_M", None, 512)
    slowest, fastest = chosen["tokens_per_second"]
    assert 0 < slowest < fastest


def test_plan_and_fit_reckon_alike(folder: Path) -> None:
    (placement,) = document("plan", "gpu-01", cwd=folder)["hosts"]["gpu-01"]["placements"]
    options = [
        "--num-ctx",
        "8192",
        "--kv-cache-type",
        "q8_0",
        "--num-batch",
        "512",
        "--flash-attention",
        "on",
    ]
    fit = document(
        "fit", "deepseek-r1:32b", "--gpu", "rtx-4090", *options, "--release", "0.32.15", cwd=folder
    )

    assert fit == {"version": 1, **placement["estimate"]}


def test_hosts_and_groups_may_be_chosen(folder: Path) -> None:
    assert list(document("plan", "rack", cwd=folder)["hosts"]) == ["gpu-01", "gpu-02"]
    assert list(document("plan", "empty", "gpu-02", cwd=folder)["hosts"]) == ["gpu-02", "empty"]


def test_explain_names_the_line_of_every_value(folder: Path) -> None:
    done = run("plan", "gpu-02", "--explain", cwd=folder)

    lines = FLEET.splitlines()
    told = dict(line.strip().rsplit(": ", 1) for line in done.stdout.splitlines() if ": fleet.yaml:" in line)
    told = {key: lines[int(place.rpartition(":")[2]) - 1].strip() for key, place in told.items()}
    choices = "rtx-4060-ti-16gb: {quantization: IQ3_M, num_gpu: 60, num_ctx: 4096}"
    assert told == {
        "gpus": "gpu-02: {gpus: [rtx-4060-ti-16gb]}",
        "env.OLLAMA_KV_CACHE_TYPE": "env: {OLLAMA_KV_CACHE_TYPE: q8_0, OLLAMA_FLASH_ATTENTION: true}",
        "env.OLLAMA_FLASH_ATTENTION": "env: {OLLAMA_KV_CACHE_TYPE: q8_0, OLLAMA_FLASH_ATTENTION: true}",
        "release.version": "release: {version: 0.32.15}",
        "models.reasoner.from": "from: deepseek-r1:32b",
        "models.reasoner.quantization": choices,
        "models.reasoner.num_gpu": choices,
        "models.reasoner.num_ctx": choices,
        "models.reasoner.num_ctx_min": "num_ctx_min: 4096",
        "models.reasoner.preload": "preload: true",
    }


def test_what_does_not_fit_ends_with_1_and_the_reason(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(NO_ROOM)

    done = run("plan", cwd=folder)
    assert done.returncode == 1
    (row,) = [
        line for line in done.stdout.splitlines() if line.startswith("gpu-01") and "deepseek-r1:70b" in line
    ]
    assert " NO" in row
    (reason,) = [line for line in done.stdout.splitlines() if line.startswith("gpu-01: large: ")]
    assert "MiB" in reason
    hosts = document("plan", cwd=folder, code=1)["hosts"]
    assert [name for name, host in hosts.items() if not host["fits"]] == ["gpu-01"]
    assert run("plan", "gpu-02", cwd=folder).returncode == 0


def test_what_cannot_be_planned_ends_with_1_and_leaves_the_other_hosts(folder: Path) -> None:
    wrong = FLEET.replace("'deepseek-r1:70b'", "'who/ever'").replace("num_gpu: 81", "num_gpu: auto")
    (folder / "fleet.yaml").write_text(wrong.replace("{gpus: []}", "{gpus: [], models: [large]}"))

    done = run("plan", cwd=folder)
    hosts = document("plan", cwd=folder, code=1)["hosts"]

    assert done.returncode == 1
    message = "large: nothing is known of who/ever; run `ollama-fleet lock`"
    assert hosts["empty"] == {"gpus": [], "error": message, "fits": False, "placements": []}
    assert message in done.stdout
    assert hosts["gpu-01"]["placements"]


def test_a_model_nobody_knows_is_told_and_is_no_failure(folder: Path) -> None:
    unknown = FLEET.replace("'deepseek-r1:70b'", "'who/ever'")
    (folder / "fleet.yaml").write_text(unknown.replace("{gpus: []}", "{gpus: [], models: [large]}"))

    done = run("plan", "empty", cwd=folder)

    assert done.returncode == 0
    assert "empty: large: nothing is known of who/ever before it is locked" in done.stdout


def test_the_better_that_was_rejected_is_told(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(FLEET.replace("quantization: auto", "quantization: [Q8_0, Q4_K_M]"))

    (line,) = [line for line in run("plan", cwd=folder).stdout.splitlines() if "not taken" in line]
    assert line.startswith("gpu-01: not taken: ")
    assert "Q8_0 with num_ctx 8192, q8_0 cache lacks" in line


def test_output_in_a_pipe_is_not_cut(folder: Path) -> None:
    long = "m" * 70
    (folder / "fleet.yaml").write_text(
        FLEET.replace("reasoner", long).replace("IQ3_M'", f"IQ3_M-{'x' * 60}'")
    )

    done = run("plan", cwd=folder, environment={"COLUMNS": "40"})

    assert "…" not in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("gpu-02  ")]
    assert f" {long} " in row
    assert f":IQ3_M-{'x' * 60} " in row
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"), [(["rac"], 'did you mean "rack"'), (["gpu-1"], '"gpu-1" is no host or group')]
)
def test_mistakes_are_one_line(arguments: list[str], says: str, folder: Path) -> None:
    assert says in refused("plan", *arguments, cwd=folder)


def test_mistakes_of_the_file_have_their_place(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(FLEET.replace("[rtx-4090]", "[rtx-4091]"))

    line = refused("plan", cwd=folder)
    assert "fleet.yaml:20:19: hosts.gpu-01.gpus[0]:" in line
    assert 'did you mean "rtx-4090"' in line


def test_a_lock_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "fleet.lock").write_text("version: 2\n")

    assert "fleet.lock:1:1: version: version is 2" in refused("plan", cwd=folder)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_planned(path: Path, tmp_path: Path) -> None:
    done = run("plan", "--json", cwd=tmp_path, environment={"OLLAMA_FLEET": str(path)})

    assert (done.returncode, done.stderr) == (0, "")
    hosts = json.loads(done.stdout)["hosts"]
    asked = Fleet.load(path).hosts
    planned = {
        name: list(dict.fromkeys(one["model"] for one in host["placements"])) for name, host in hosts.items()
    }
    assert planned == {host.name: [model.name for model in host.models] for host in asked}
    assert all(host["error"] is None and host["fits"] for host in hosts.values())


def test_a_large_fleet_is_printed_in_the_same_columns(folder: Path) -> None:
    hosts = "".join(f"  x{number:03}: {{gpus: [rtx-4090], models: [reasoner]}}\n" for number in range(600))
    (folder / "fleet.yaml").write_text(FLEET + hosts)
    lines = run("plan", cwd=folder).stdout.splitlines()

    head, first = lines[0], next(line for line in lines if line.startswith("x000"))
    assert head.split() == ["host", "model", "from", "num_ctx", "num_gpu", "memory", "fits", "speed"]
    assert all(line.index("reasoner") == head.index("model") for line in lines if line.startswith("x5"))
    assert first.index("deepseek-r1:32b") == head.index("from")
    assert first.index("yes") == head.index("fits")
    assert "x599" in lines[604]
