"""What the README tells a newcomer, done as it stands there: its own commands and fleet, in one session at a terminal.

Only what cannot be here is put in another's place: the host's address and login, the model, where releases come from.
"""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import yaml

from converge.conftest import Release
from converge.fleet_directory import ROOT, Document, merged
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

CHAPTER = "## Your first fleet"
STEPS = ("init", "validate", "lock", "plan", "deploy.py", "clients chatbox", "report")
"""What the newcomer comes past, in this order."""
SOURCES = (
    *("src", "templates", "modelfiles", "inventory", "deploy.py"),
    *("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"),
)
"""What of a clone `pip install .` looks at."""

TELL = """trap 'echo "\\$ $BASH_COMMAND"' DEBUG"""


def chapter(readme: Path) -> tuple[list[str], Document]:
    """The blocks of commands, and the fleet that stands between the first and the second."""
    text = readme.read_text(encoding="utf-8").partition(f"{CHAPTER}\n")[2]
    text = text[: text.index("\n## ")]
    commands = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    fleet = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert fleet
    assert [text.index(block) < fleet.start() for block in commands] == [True, False, False]
    parsed: Document = yaml.safe_load(fleet[1])
    return commands, parsed


def on_the_lab(fleet: Document, host: Host, lab: Lab, release: Release, base: str) -> Document:
    """The README's fleet with the host, the model and the release that are here."""
    ((name, _),) = fleet["hosts"].items()
    ((model, _),) = fleet["models"].items()
    reached = {
        "address": host.address,
        "ssh": {"user": "admin", "key": str(lab.key), "known_hosts": str(lab.known_hosts)},
        "firewall": {"allow_from": lab.cidrs("lan")},
    }
    return merged(
        fleet,
        {
            "release": release.document,
            "registries": {lab.registry.host: {"insecure": True}},
            "models": {model: {"from": base}},
            "hosts": {name: reached},
        },
    )


def at_a_terminal(script: Path, cwd: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a script on a terminal, pressing enter where pyinfra asks for it; returns what stood there."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-e", script], cwd=cwd, env=environment, stdin=its, stdout=its, stderr=its, close_fds=True
    )
    os.close(its)
    received, answered = b"", 0
    while True:
        try:
            received += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if received.count(b"Press enter") > answered:
            answered += 1
            os.write(ours, b"\n")
    os.close(ours)
    return process.wait(timeout=60), received.decode()


def test_the_first_ten_minutes(
    tmp_path: Path, new_host: BootHost, lab: Lab, release: Release, base: str
) -> None:
    commands, fleet = chapter(ROOT / "README.md")
    host = new_host(gpus=["rtx-4090"], firewall="ufw")
    here = on_the_lab(fleet, host, lab, release, base)
    home, clone, script = tmp_path / "home", tmp_path / "clone", tmp_path / "session.sh"
    home.mkdir()
    clone.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name, **({"symlinks": True} if copy is shutil.copytree else {}))
    install, converge, use = commands
    edit = f"cat > fleet.yaml <<'END'\n{yaml.safe_dump(here, sort_keys=False)}END\n"
    script.write_text("\n".join([TELL, install, edit, converge, use]))

    code, said = at_a_terminal(script, clone, environment(home))

    (tmp_path / "session.txt").write_text(said)
    assert code == 0, said
    at = -1
    for step in STEPS:
        at = said.index(f"{step}", at + 1)
    assert installed_from_a_wheel(clone / ".venv")
    assert "rtx-4090" in (home / "my-fleet/report.html").read_text(encoding="utf-8")
    provider = linked_by_chatbox(said)
    ((name, _),) = fleet["models"].items()
    assert [model["modelId"] for model in provider["models"]] == [name]
    answer = ask(provider["apiHost"], name)
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert "Detected changes" in said  # it has asked


def environment(home: Path) -> dict[str, str]:
    """A newcomer's: an empty home, and pip as this machine has it set."""
    kept = {
        key: value for key, value in os.environ.items() if key in ("PATH", "LANG") or key.startswith("PIP")
    }
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pip"
    certificates = {"PIP_CONFIG_FILE": os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf")}
    return {**certificates, **kept, "PIP_CACHE_DIR": str(cache), "HOME": str(home), "TERM": "xterm-256color"}


def installed_from_a_wheel(venv: Path) -> bool:
    (record,) = venv.glob("lib/python*/site-packages/ollama_fleet-*.dist-info/RECORD")
    return "ollama_fleet/templates/" in record.read_text() and "ollama_fleet/starter/" in record.read_text()


def linked_by_chatbox(said: str) -> dict[str, Any]:
    """The settings in the link, as Chatbox reads them."""
    found = re.search(r"chatbox://provider/import\?config=(\S+)", said)
    assert found, said
    settings: dict[str, Any] = json.loads(base64.b64decode(unquote(found[1])))["settings"]
    return settings


def ask(url: str, model: str) -> dict[str, Any]:
    """A question by OpenAI's API, which that link makes Chatbox use."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{url}/chat/completions", json=body, timeout=60)
    answer.raise_for_status()
    parsed: dict[str, Any] = answer.json()
    return parsed
