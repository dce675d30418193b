"""The figure that is promised of the unit's sandbox, by the benchmark that prints it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "unit_exposure.py"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_our_unit_exposes_less_than_the_aim_and_than_upstream() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK)],
        cwd=BENCHMARK.parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"ours (\S+), upstream (\S+),", done.stdout)
    assert found, done.stdout
    ours, upstream = map(float, found.groups())
    assert ours < 4.0 < upstream
