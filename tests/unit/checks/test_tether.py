"""What the host is told to do by itself: names are quoted, and only what was there is loaded."""

from __future__ import annotations

import shlex
import subprocess

from ollama_fleet.api.client import LoadedModel
from ollama_fleet.checks.tether import script


def loaded(name: str, expires_at: str) -> LoadedModel:
    return LoadedModel(name, "d", 1, 1, expires_at, 512)


def test_the_script_is_shell_and_quotes_what_it_was_given() -> None:
    nasty = "m:x'; touch /tmp/owned; '"
    text = script("/opt/o l/ollama", "127.0.0.1:11434", [loaded(nasty, "2318-01-01T00:00:00Z")], [nasty])
    subprocess.run(["/bin/sh", "-n", "-c", text], check=True)
    assert shlex.quote(nasty) in text
    assert "; touch /tmp/owned" not in text.replace(shlex.quote(nasty), "")


def test_told_that_all_is_well_it_does_nothing() -> None:
    text = script("false", "127.0.0.1:1", [], [])
    done = subprocess.run(["/bin/sh", "-c", text], input=b"alive\ndone\n", check=False, timeout=30)
    assert done.returncode == 0
