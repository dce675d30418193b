"""Tables at a terminal: whole at any width, coloured unless that is unwanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from page.fleets import SMALL
from unit.cli.command import run
from unit.cli.terminal import on_terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(SMALL)
    return tmp_path


def test_plan(folder: Path) -> None:
    screen = on_terminal("plan", cwd=folder, columns=130)

    assert screen.code == 1
    assert screen.coloured
    heads = [line for line in screen.lines if line and not line.startswith(" ")]
    assert heads == [
        "gpu-01  rtx-4090, rtx-4090",
        "gpu-02  rtx-4060-ti-16gb",
        "too-small  rtx-4070",
        "cpu-only  no GPU",
        "who-knows  GPUs unknown",
        "5 hosts: does not fit: too-small",
        "Downloads are reckoned at 1 Gbit/s, loads at 1 GB/s from the disk.",
    ]
    (chosen,) = [line for line in screen.lines if line.startswith(" reasoner  deepseek-r1:32b")]
    assert "18.5 GiB, 3 min  20 s" in chosen
    assert "tokens/s" in chosen
    assert "   reasoner: as asked for at fleet.yaml:16" in screen.lines  # the line of per_gpu
    assert any(line.startswith("   large: ") and "lacks 32078 MiB" in line for line in screen.lines)


@pytest.mark.parametrize("columns", [40, 89, 90, 100])
def test_plan_loses_nothing_in_a_narrow_window(columns: int, folder: Path) -> None:
    screen = on_terminal("plan", cwd=folder, columns=columns)

    assert max(map(len, screen.lines)) <= columns
    assert "…" not in screen.text
    together = "".join(screen.text.split())
    for word in ("deepseek-r1:70b", "18.5GiB", "65/65engine", "=42619MiBof10542free"):
        assert word in together
    if columns < 90:
        assert "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M" in together


def test_no_colour_is_respected(folder: Path) -> None:
    assert not on_terminal("plan", cwd=folder, environment={"NO_COLOR": "1"}).coloured


def test_a_pipe_gets_one_table_and_no_colour(folder: Path) -> None:
    done = run("plan", cwd=folder, environment={"COLUMNS": "40", "TERM": "xterm-256color"})

    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[0].split()[:3] == ["host", "model", "from"]


def test_a_code_that_the_terminal_is_too_narrow_for(folder: Path) -> None:
    screen = on_terminal("clients", "chatbox", "--host", "gpu-01", cwd=folder, columns=60)

    assert "█" not in screen.text
    assert "the QR code needs a terminal of" in screen.text
    assert "█" in on_terminal("clients", "chatbox", "--host", "gpu-01", cwd=folder, columns=80).text
