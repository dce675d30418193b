"""`ollama-fleet report`, as it is typed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from unit.cli.command import refused, run

FLEET = """\
version: 1
release: {version: 0.32.15}
models:
  reasoner: {from: 'deepseek-r1:7b', num_ctx: 8192}
groups:
  rack: {hosts: [gpu-01], models: [reasoner]}
hosts:
  gpu-01: {address: 127.0.0.1, ssh: {port: 1}, gpus: [rtx-4090]}
  gpu-02: {address: 192.168.1.12, gpus: []}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def test_a_file_that_others_can_read(folder: Path) -> None:
    done = run("report", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("report.html: 2 hosts, ")
    page = folder / "report.html"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o644
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_standard_output_and_a_group(folder: Path) -> None:
    done = run("report", "rack", "-o", "-", cwd=folder)

    assert done.stdout.endswith("</html>\n")
    assert 'id="host-gpu-01"' in done.stdout
    assert 'id="host-gpu-02"' not in done.stdout


def test_a_host_that_does_not_answer_is_told_and_the_page_is_written(folder: Path) -> None:
    (folder / "fleet.lock").write_text("version: 1\n")

    done = run("report", "--live", "rack", cwd=folder)

    assert done.returncode == 1
    assert "gpu-01: no connection" in done.stderr
    assert "no connection" in (folder / "report.html").read_text()


def test_a_place_that_is_none(folder: Path) -> None:
    assert refused("report", "-o", "nowhere/report.html", cwd=folder).startswith(
        "Error: nowhere/report.html: "
    )


def test_a_template_of_ones_own_comes_first(folder: Path) -> None:
    (folder / "templates").mkdir()
    (folder / "templates/report.html.j2").write_text("{{ content.hosts|length }} & {{ '<b>' }}")

    assert run("report", "-o", "-", cwd=folder).stdout == "2 & &lt;b&gt;"
    (folder / "templates/report.html.j2").write_text("{{ nothing }}")
    assert "templates/report.html.j2: " in refused("report", cwd=folder)
