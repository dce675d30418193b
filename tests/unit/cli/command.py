"""The commands as CI runs them, in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from unit.cli.printed import hold_to_schema

COMMAND = Path(sys.executable).with_name("ollama-fleet")


def run(
    *arguments: str, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `ollama-fleet` with its output in a pipe; never a traceback, and JSON as its schema says."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env={
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            **(environment or {}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    hold_to_schema(arguments, done.stdout)
    return done


def refused(*arguments: str, cwd: Path) -> str:
    """Run what must fail for the user's own mistake: exit code 1, nothing printed but one line; returns it."""
    done = run(*arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    return line


def document(*arguments: str, cwd: Path, code: int = 0) -> dict[str, Any]:
    """What `--json` printed, with this exit code."""
    done = run(*arguments, "--json", cwd=cwd)
    assert done.returncode == code, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed
