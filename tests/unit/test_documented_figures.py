"""Figures in the pages are what the programs say today."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from click.testing import CliRunner

from ollama_fleet.cli import cli
from unit.documents import ROOT, in_language


def told_by(script: str) -> str:
    """What a benchmark prints; without Go, so that it builds nothing."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script],
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_accuracy_is_what_the_benchmarks_print() -> None:
    shown = [block.text for block in in_language("text") if block.page.name == "memory.md"]
    printed = told_by("memory_accuracy.py") + told_by("token_rate.py")

    assert len(shown) == 3
    for block in shown:
        assert block in printed


def test_the_number_of_configurations_is_that_of_the_golden_file() -> None:
    page = (ROOT / "docs/memory.md").read_text(encoding="utf-8")
    rows = (ROOT / "tests/golden/dense_memory.csv").read_text(encoding="utf-8").splitlines()[1:]

    assert re.findall(r"(\d+) configurations", page) == [str(len(rows))]


def test_the_choice_by_card_is_what_recommend_says() -> None:
    pattern = re.compile(r"^\| (2 × )?`([\w-]+)`[^|]*\| (\d+b) \| (\w+) \| (\w+) \|", re.MULTILINE)
    rows, chinese = (
        pattern.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
        for page in ("tutorial.md", "tutorial.zh-CN.md")
    )

    assert len(rows) == 7
    assert chinese == rows
    for twice, gpu, size, quantization, cache in rows:
        arguments = ["recommend", "--json", *["--gpu", gpu] * (2 if twice else 1)]
        best = json.loads(CliRunner().invoke(cli, arguments).stdout)["choices"][0]
        assert re.search(rf"[:-]{size}\b", best["model"].lower()), gpu
        assert (best["quantization"], best["kv_cache_type"]) == (quantization, cache), gpu
