"""What the README tells a newcomer, done as it stands there: its own commands and fleet, in one session at a terminal.

Only what cannot be here is put in another's place: the host's address and login, the model, where releases come from.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import yaml

from converge import newcomer
from converge.conftest import Release
from converge.fleet_directory import Document, merged
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

STEPS = ("init", "validate", "lock", "plan", "deploy.py", "clients chatbox", "report")
"""What the newcomer comes past, in this order."""
TELL = """trap 'echo "\\$ $BASH_COMMAND"' DEBUG"""


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
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
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
    installed: Path, tmp_path: Path, new_host: BootHost, lab: Lab, release: Release, base: str
) -> None:
    _, begin, (converge, use), fleet = newcomer.chapter()
    host = new_host(gpus=["rtx-4090"], firewall="ufw")
    here = on_the_lab(fleet, host, lab, release, base)
    home, script = tmp_path / "home", tmp_path / "session.sh"
    activate = f". {installed}/activate"
    edit = f"cat > fleet.yaml <<'END'\n{yaml.safe_dump(here, sort_keys=False)}END\n"
    script.write_text("\n".join([TELL, activate, begin, edit, converge, use]))

    code, said = at_a_terminal(script, tmp_path, newcomer.environment(home))

    (tmp_path / "session.txt").write_text(said)
    assert code == 0, said
    typed = re.findall(r"^\$ (?:ollama-fleet|pyinfra) (.+?)\r?$", said, re.MULTILINE)
    assert [next((step for step in STEPS if step in line), line) for line in typed] == list(STEPS)
    assert "Detected changes" in said  # it has asked
    assert "rtx-4090" in (home / "my-fleet/report.html").read_text(encoding="utf-8")
    provider = linked_by_chatbox(said)
    ((name, _),) = fleet["models"].items()
    assert [model["modelId"] for model in provider["models"]] == [name]
    assert ask(provider["apiHost"], name)["done"]


def linked_by_chatbox(said: str) -> dict[str, Any]:
    """The settings in the link, as Chatbox reads them."""
    found = re.search(r"chatbox://provider/import\?config=(\S+)", said)
    assert found, said
    settings: dict[str, Any] = json.loads(base64.b64decode(unquote(found[1])))["settings"]
    return settings


def ask(url: str, model: str) -> dict[str, Any]:
    """A question to the server in the link, by Ollama's own API: the stand-in has no other."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    answer = httpx.post(f"{url.removesuffix('/v1')}/api/chat", json=body, timeout=60)
    answer.raise_for_status()
    parsed: dict[str, Any] = answer.json()
    return parsed
