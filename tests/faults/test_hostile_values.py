"""Hostile values on a real host: there byte for byte, by other means than our own probe, and nothing was executed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from converge.fleet_directory import FleetDirectory
from converge.outside_view import layer, main_pid, manifest, process_environment
from faults.conftest import MakeFleet
from faults.hostile import ALL, CANARY, COMMANDS, MARKS, SCRIPTS, texts
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host
from lab.tiny_gguf import tiny_gguf
from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.render import RenderError, modelfile_value
from ollama_fleet.probe.shell import word
from ollama_fleet.spec.env import render_variable
from ollama_fleet.spec.errors import Wrong
from ollama_fleet.spec.values import parse_models_dir
from ollama_sim import modelfile as other_parser

pytestmark = pytest.mark.lab


def env_values(seed: int = 0, count: int = 400) -> list[str]:
    """All hostile texts and seeded mixtures of them, as far as `env` lets them in."""
    dice = random.Random(seed)
    pieces = [*MARKS, *SCRIPTS, *COMMANDS, "a", "b ", "\\", '"', "'", "$", "`", "%", "\t"]
    mixed = ["".join(dice.choices(pieces, k=dice.randint(1, 6))) for _ in range(count)]
    kept = []
    for text in (*ALL, *mixed):
        try:
            kept.append(render_variable("FLEET_TEXT", text))
        except Wrong:
            continue
        assert kept[-1] == text
    assert len(kept) > count / 2
    return kept


def as_environment(raw: bytes) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in raw.decode().split("\0") if entry)


@pytest.fixture(scope="module")
def plain_host(lab: Lab) -> Host:
    return lab.host("hostile")


def no_canary(host: Host) -> None:
    assert host.run(f"find / -xdev -name {CANARY}").stdout == ""
    for folder in (Path("/"), Path("/tmp"), Path.cwd()):
        assert not (folder / CANARY).exists()


@pytest.mark.parametrize("reader", ["systemd", "sh"])
def test_environment_file(plain_host: Host, reader: str) -> None:
    """systemd reads the file for the service, and sh where there is no systemd; both must read the same."""
    values = {f"V{number}": text for number, text in enumerate(env_values())}
    rendered = load_templates(Path("/nonexistent")).render("ollama-environment.j2", {"environment": values})
    plain_host.write("/run/hostile.env", rendered)
    if reader == "systemd":
        plain_host.run(
            "systemd-run --quiet --wait -p EnvironmentFile=/run/hostile.env "
            "-p StandardOutput=file:/run/hostile.out /usr/bin/env -0",
        )
    else:
        plain_host.run("set -a; . /run/hostile.env; set +a; /usr/bin/env -0 >/run/hostile.out")
    seen = as_environment(plain_host.read_bytes("/run/hostile.out"))
    assert {name: seen.get(name) for name in values} == values
    no_canary(plain_host)


def test_profile(plain_host: Host) -> None:
    values = {f"V{number}": text for number, text in enumerate(env_values(1))}
    rendered = load_templates(Path("/nonexistent")).render(
        "ollama-profile.sh.j2",
        {"environment": values, "scope": "user", "command_directory": "/x y/$(touch /c)"},
    )
    plain_host.write("/run/profile.sh", rendered)
    for shell in ("dash", "bash"):
        plain_host.run(f"{shell} -c '. /run/profile.sh; /usr/bin/env -0 >/run/profile.out'")
        seen = as_environment(plain_host.read_bytes("/run/profile.out"))
        assert {name: seen.get(name) for name in values} == values
        assert seen["PATH"].startswith("/x y/$(touch /c):")
    no_canary(plain_host)


def test_words_of_a_shell(tmp_path: Path) -> None:
    given_texts = [text for text in (*ALL, *env_values(2)) if "\0" not in text]
    # A path that begins with ~/ is meant: it is one below the home directory.
    given_texts = [text for text in given_texts if text != "~" and not text.startswith("~/")]
    script = "\n".join(f"printf '%s\\0' {word(text)}" for text in given_texts)
    for shell in ("sh", "bash"):
        done = subprocess.run(
            [shell, "-s"], input=script.encode(), capture_output=True, check=True, cwd=tmp_path
        )
        assert done.stdout.decode().split("\0")[:-1] == given_texts
    assert list(tmp_path.iterdir()) == []


@given(texts)
@settings(max_examples=400, deadline=None)
def test_modelfile(text: str) -> None:
    """Two parsers, ours and that of the stand-in, read what the template writes as what was meant, or it is refused."""
    templates = load_templates(Path("/nonexistent"))
    values = {"base": "b", "parameters": {"stop": ["x"]}, "template": None, "system": text}
    rendered, refused = "", ""
    try:
        rendered = templates.render("default.Modelfile.j2", values)
    except RenderError as error:
        refused = str(error)
    if refused:
        assert refused.isprintable()
        return
    read = dict(other_parser.parse(rendered))
    assert read.get("system", "") == text
    assert read["from"] == "b"
    assert read["stop"] == "x"


HOSTILE_DIRECTORIES = (
    '/srv/a\'b "c" $(touch /fleet-canary) `touch /fleet-canary` %h %% ; & | * ? # \\n {x} !y',
    "/srv/中文 模型/é\u0301 😀/-rf/--help",
    "/srv/ollama\\ $HOME ${HOME} ~ \\\\ end\\",
)


@pytest.mark.parametrize("number", range(len(HOSTILE_DIRECTORIES)))
def test_whole_apply(
    lab: Lab, make_fleet: MakeFleet, new_host: BootHost, tmp_path: Path, number: int
) -> None:
    """Everything at once: prompt, template, stop words, variables, directories, the controller's own paths."""
    directory = HOSTILE_DIRECTORIES[number]
    assert parse_models_dir(directory) == directory
    host = new_host(firewall="nftables")
    keys = tmp_path / f"k'e\"y $(touch {CANARY}) `touch {CANARY}` %h"
    keys.mkdir()
    shutil.copy(lab.key, keys / "id")
    shutil.copy(lab.known_hosts, keys / "known")
    system = "\n".join(
        text for text in (*COMMANDS, *MARKS, *SCRIPTS) if text.isprintable() and '"""' not in text
    )
    stops = [text for text in (*COMMANDS, *MARKS, *SCRIPTS) if fits_a_modelfile(text)]
    values = {
        f"FLEET_{i}": text for i, text in enumerate(env_values(number + 3, 60)) if not is_reference(text)
    }
    made = make_fleet(
        {"hostile.host_1-x": host},
        {
            "defaults": {
                "models_dir": directory,
                "env": values,
                "ssh": {"user": "admin", "key": str(keys / "id"), "known_hosts": str(keys / "known")},
                "sudo": True,
                "listen": "0.0.0.0:11434",
                "firewall": {"allow_from": lab.cidrs("lan")},
            },
            "models": {
                "small": {
                    "system": system,
                    "template": "{{ .Prompt }}\n'$(touch /fleet-canary)' \"%s\" \\ 中文",
                    "parameters": {"stop": stops},
                },
            },
        },
    )
    place = tmp_path / f"f'l\"eet $(touch {CANARY}) `touch {CANARY}` % #;&"
    made.path.rename(place)
    fleet = FleetDirectory.new(place, made.document)
    weights = f"./m'o\"dels $(touch {CANARY}) `touch {CANARY}` 中/-f; touch {CANARY}.gguf"
    tiny_gguf((place / weights).resolve(), seed=3)
    fleet.change(models={"filed": {"from": weights, "num_ctx": 64, "num_gpu": 0, "system": "Of a file."}})
    fleet.change(groups={"rack": {"models": ["small", "filed"]}})
    fleet.lock()
    run = fleet.apply()
    assert run.code == 0, str(run)
    environment = process_environment(host, main_pid(host))
    assert {name: environment.get(name) for name in values} == values
    assert environment["OLLAMA_MODELS"] == directory
    stored = manifest(host, directory, "registry.ollama.ai/library/small/latest")
    assert layer(host, directory, stored, "system") == system
    assert layer(host, directory, stored, "template") == made.document["models"]["small"]["template"]
    assert json.loads(layer(host, directory, stored, "params"))["stop"] == stops
    filed = manifest(host, directory, "registry.ollama.ai/library/filed/latest")
    assert layer(host, directory, filed, "system") == "Of a file."
    told = host.run(["bash", "-lc", 'printf %s "$OLLAMA_MODELS"'], user="student").stdout
    assert told == directory
    no_canary(host)
    assert not list(tmp_path.rglob(CANARY))
    again = fleet.apply()
    assert again.code == 0, str(again)
    assert again.changed("hostile.host_1-x") == set()
    drift = fleet.drift()
    assert drift.code == 0, str(drift)


def fits_a_modelfile(text: str) -> bool:
    try:
        modelfile_value(text)
    except ValueError:
        return False
    return text.isprintable()


def is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))
