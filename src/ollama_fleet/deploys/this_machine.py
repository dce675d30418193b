"""The machine that the command itself runs on, read by the same probe as any host."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ollama_fleet.hardware.cpu import HostMemory, parse_meminfo
from ollama_fleet.hardware.errors import HardwareError
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe import read
from ollama_fleet.probe.request import ProbeRequest

TIMEOUT = 60
"""Seconds; a driver that hangs must not keep anybody from beginning."""


def read_this_machine() -> HostState | None:
    """Return what is here; None where the probe does not run, as on Windows. Changes nothing, needs no rights."""
    request = ProbeRequest(Layout.of("system"))
    try:
        done = subprocess.run(  # noqa: S603 - our own script
            ["/bin/sh", "-c", read.script(request)],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
        return read.parse(done.stdout.splitlines(), request)[0]
    except (OSError, subprocess.TimeoutExpired, read.ProbeError):
        return None


def memory_of_this_machine() -> HostMemory | None:
    """Return how much memory is here, None where the system does not say it as Linux does."""
    try:
        return parse_meminfo(Path("/proc/meminfo").read_text(encoding="utf-8"))
    except (OSError, HardwareError):
        return None
