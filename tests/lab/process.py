"""Running this machine's own tools, with their complaint in the error."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class LabError(RuntimeError):
    """The lab could not do what was asked; the message says which command failed and what it said."""


def run(argv: Sequence[str], *, stdin: str = "", timeout: float = 120) -> str:
    """Run `argv` and return its standard output.

    Raises LabError when it cannot be started, fails, or takes longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Run `argv` and say whether it succeeded; for clean-up, where a thing may be gone already."""
    try:
        run(argv)
    except LabError:
        return False
    return True
