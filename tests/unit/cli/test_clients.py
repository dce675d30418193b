"""`ollama-fleet clients`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ollama_fleet.outputs.clients.every import CLIENTS
from unit.cli.command import document, refused, run

FLEET = """\
version: 1
release: {version: 0.32.15}
models:
  reasoner: {from: 'deepseek-r1:7b', num_ctx: 8192}
hosts:
  gpu-01:
    address: 192.168.1.11
    listen: 0.0.0.0:11434
    firewall: {allow_from: [192.168.1.0/24]}
    models: [reasoner]
  alone: {address: 192.168.1.14, models: [reasoner]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def test_all_clients_at_once(folder: Path) -> None:
    done = run("clients", cwd=folder)

    assert done.returncode == 0
    assert {line.split()[1].rstrip(",") for line in done.stdout.splitlines() if line.startswith("# ")} == set(
        CLIENTS
    )
    assert "█" not in done.stdout  # codes only where somebody looks
    assert done.stderr.startswith("alone: listens on 127.0.0.1:11434 only")


def test_one_client_of_one_host_in_a_file(folder: Path) -> None:
    done = run("clients", "openai", "--host", "gpu-01", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line and not line.startswith("#")] == [
        "OPENAI_BASE_URL=http://192.168.1.11:11434/v1",
        "OPENAI_API_KEY=ollama",
    ]


def test_the_code_can_be_asked_for(folder: Path) -> None:
    assert "█" in run("clients", "chatbox", "--qr", cwd=folder).stdout


def test_json(folder: Path) -> None:
    found = document("clients", "curl", cwd=folder)

    assert found["version"] == 1
    assert [(one["host"], one["reach"]) for one in found["endpoints"]] == [
        ("gpu-01", "192.168.1.0/24"),
        ("alone", "programs on alone itself"),
    ]
    assert [(one["client"], one["host"], one["model"]) for one in found["settings"]] == [
        ("curl", "gpu-01", "reasoner"),
        ("curl", "alone", "reasoner"),
    ]


def test_a_host_that_is_none(folder: Path) -> None:
    assert '"gpu-1" is no host or group' in refused("clients", "--host", "gpu-1", cwd=folder)


def test_a_client_that_is_none(folder: Path) -> None:
    done = run("clients", "chatbx", cwd=folder)
    assert done.returncode == 1
    assert "'chatbx' is not one of" in done.stderr


@pytest.mark.parametrize(
    ("more", "words", "ports"),
    [
        ("instances: per-gpu", "h: only the first of its instances is shown; how many", {11434}),
        (
            "instances: [{name: a, devices: [GPU-6f0c3c6e-6f6c-4c61-8d1a-0b1a6d5f2c11]}, {name: b, devices: []}]",
            "",
            {11434, 11435},
        ),
    ],
)
def test_instances_on_cards_that_only_the_host_knows(
    tmp_path: Path, more: str, words: str, ports: set[int]
) -> None:
    several = (
        f"  h: {{address: 192.168.1.12, listen: '0.0.0.0:11434', expose: true, models: [reasoner], {more}}}\n"
    )
    (tmp_path / "fleet.yaml").write_text(FLEET + several)

    done = run("clients", "curl", "--host", "h", cwd=tmp_path)

    assert done.returncode == 0
    assert done.stderr.startswith(words)
    assert len(done.stderr.splitlines()) == bool(words)
    assert {port for port in range(11434, 11440) if f"192.168.1.12:{port}/" in done.stdout} == ports
