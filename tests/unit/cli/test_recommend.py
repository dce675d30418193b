"""`ollama-fleet recommend`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ollama_fleet.cli.recommend import command
from ollama_fleet.outputs.proposal import RELEASE
from unit.cli.command import document, refused, run


def test_table(tmp_path: Path) -> None:
    done = run("recommend", "--gpu", "rtx-4090", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    head, first, *_, better = done.stdout.splitlines()
    assert head.split() == ["model", "quantization", "num_ctx", "KV", "layers", "VRAM", "speed"]
    assert first.split()[:5] == ["deepseek-r1:32b", "Q4_K_M", "8192", "f16", "65/65"]
    assert better.startswith("Nothing better than the first: 70b")
    assert "MiB on rtx-4090" in better


@pytest.mark.parametrize(
    "machine",
    [["--gpu", "rtx-4090"], ["--gpu", "rtx-3090", "--gpu", "rtx-3090"], ["--vram", "12GiB"], []],
    ids=" ".join,
)
def test_every_choice_fits_and_the_first_is_the_largest(machine: list[str], tmp_path: Path) -> None:
    found = document("recommend", *machine, cwd=tmp_path)

    assert found["version"] == 1
    keys = {
        "model",
        "quantization",
        "num_ctx",
        "kv_cache_type",
        "num_gpu",
        "estimate",
        "tokens_per_second",
        "rejected",
    }
    assert all(choice.keys() == keys for choice in found["choices"])
    assert all(choice["estimate"]["fits"] for choice in found["choices"])
    assert all(choice["estimate"]["layers"]["offloaded"] == choice["num_gpu"] for choice in found["choices"])
    if machine:
        sizes = [sum(device["weights"] for device in c["estimate"]["devices"]) for c in found["choices"]]
        assert max(sizes) == sizes[0]


def test_what_is_recommended_fits_when_it_is_asked_for(tmp_path: Path) -> None:
    for choice in document("recommend", "--gpu", "rtx-4060-ti-16gb", cwd=tmp_path)["choices"]:
        options = ["--num-ctx", str(choice["num_ctx"]), "--kv-cache-type", choice["kv_cache_type"]]
        options += ["--num-gpu", str(choice["num_gpu"]), "--num-batch", "512", "--release", RELEASE]
        fit = document("fit", choice["model"], "--gpu", "rtx-4060-ti-16gb", *options, cwd=tmp_path)
        assert fit == {"version": 1, **choice["estimate"]}


def test_a_context_that_is_wanted_is_kept_above_the_least(tmp_path: Path) -> None:
    options = ["--num-ctx", "30000", "--num-ctx-min", "20000"]
    found = document("recommend", "--gpu", "rtx-3060-12gb", *options, cwd=tmp_path)

    assert found["choices"]
    assert all(20_000 <= choice["num_ctx"] <= 30_000 for choice in found["choices"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--gpu", "rtx-409"], "'rtx-409' is no known GPU; do you mean rtx-4090"),
        (["--vram", "much"], '"much" is no size'),
        (["--gpu", "rtx-4090", "--family", "deepseek-r"], "deepseek-r1"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    assert says in refused("recommend", *arguments, cwd=tmp_path)


@pytest.mark.parametrize(
    ("gib", "size"),
    [
        (["8GiB"], "7b"),
        (["10GiB"], "14b"),
        (["11GiB"], "14b"),
        (["12GiB"], "14b"),
        (["16GiB"], "14b"),
        (["22GiB"], "32b"),
        (["24GiB"], "32b"),
        (["32GiB"], "32b"),
        (["48GiB"], "70b"),
        (["80GiB"], "70b"),
        (["24GiB", "24GiB"], "70b"),
    ],
    ids=str,
)
def test_the_tutorials_table_as_it_is_typed(gib: list[str], size: str) -> None:
    vram = [word for one in gib for word in ("--vram", one)]
    first = json.loads(CliRunner().invoke(command, [*vram, "--json"]).stdout)["choices"][0]

    assert size in first["model"].casefold()
    assert first["estimate"]["layers"]["offloaded"] == first["estimate"]["layers"]["total"]


def test_the_three_bit_32b_of_the_tutorial_does_not_fit_16_gib_beside_a_desktop(tmp_path: Path) -> None:
    """The tutorial tries it; the table says 14B, so what is missing has to be said, by both commands."""
    found = document("recommend", "--vram", "16GiB", cwd=tmp_path)["choices"][0]
    assert "32b" in found["rejected"]
    assert "MiB on GPU with 16 GiB, where weights takes most" in found["rejected"]

    model = "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M"
    options = ("--vram", "16GiB", "--num-gpu", "65", "--release", "0.32.15")
    asked = run("fit", model, *options, cwd=tmp_path)
    assert asked.returncode == 1
    assert "GPU with 16 GiB lacks" in asked.stdout


def test_another_release_may_recommend_less(tmp_path: Path) -> None:
    old = document("recommend", "--vram", "10GiB", "--release", "0.9.6", cwd=tmp_path)["choices"][0]
    new = document("recommend", "--vram", "10GiB", cwd=tmp_path)["choices"][0]

    assert old["estimate"]["devices"][0]["weights"] < new["estimate"]["devices"][0]["weights"]
    assert "is no version" in refused("recommend", "--release", "newest", cwd=tmp_path)
