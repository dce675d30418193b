"""A release is tried beside the one that serves: the very lines that run on hosts, with the stand-in."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ollama_fleet.operations import trial
from ollama_fleet.operations.shell import script
from ollama_sim.build import build_release

VERSION = "0.24.1"


def tried(
    place: Path, faults: dict[str, Any], environment: dict[str, str] | None = None, wanted: str = VERSION
) -> subprocess.CompletedProcess[str]:
    """Unpack the stand-in with these faults and try it; what is left in the temporary folder must be nothing."""
    release, temporary = place / "a release", place / "tmp"
    temporary.mkdir()
    with tarfile.open(build_release(VERSION, out=place, faults=faults)) as archive:
        archive.extractall(release, filter="data")
    lines = trial.trial(str(release), wanted, environment or {}, None)
    done = subprocess.run(
        ["/bin/sh", "-c", script(lines).get_raw_value()],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert list(temporary.iterdir()) == []
    running = subprocess.run(["pgrep", "-f", str(release)], capture_output=True, text=True, check=False)
    assert running.stdout == ""
    return done


def test_a_release_that_is_well(tmp_path: Path) -> None:
    done = tried(tmp_path, {}, {"OLLAMA_DEBUG": "1", "FLEET": 'a\'b "c" $(exit 3)', "HOME": "/nowhere"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("faults", "environment", "said"),
    [
        (
            {"start": "exit"},
            {},
            "release 0.24.1 does not start (exit status 1); its last words: "
            "Error: the stand-in was told to fail at its start; nothing was switched",
        ),
        ({"version_lie": "0.0.0"}, {}, "release 0.24.1 says that it is 0.0.0; nothing was switched"),
        (
            {},
            {"OLLAMA_ORIGINS": "nonsense"},
            "release 0.24.1 does not start (exit status 2); its last words: panic: ",
        ),
    ],
    ids=["ends", "is another", "does not take a variable"],
)
def test_a_release_that_is_not(
    tmp_path: Path, faults: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    done = tried(tmp_path, faults, environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(said)


def test_a_release_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ANSWER_WITHIN", 3)
    done = tried(tmp_path, {"start": "hang"})
    assert done.returncode == 1
    assert done.stderr.startswith("release 0.24.1 does not answer within 3 s; its last words: none")


def test_an_archive_of_another_version(tmp_path: Path) -> None:
    done = tried(tmp_path, {}, wanted="0.24.2")
    assert (done.returncode, done.stderr) == (
        1,
        "release 0.24.2 says that it is 0.24.1; nothing was switched\n",
    )
