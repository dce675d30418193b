"""Room on the drives of a Windows host, held against what an apply would fetch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.planner.disk import disk_needs, shortage
from ollama_fleet.planner.items.release import Archive
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.layout import Layout
from ollama_fleet.probe.windows import machine
from unit.planner.states import FRESH

LAYOUT = Layout.of("windows", "d:\\Models")
RELEASE = WindowsRelease("0.24.0", (Archive("x.zip", "https://x/x.zip", "0" * 64, 1 << 30),), LAYOUT)


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (
            {"C:": 1 << 30, "D:": 1 << 40},
            "the disk of C:\\Program Files\\ollama-fleet\\releases has 1.0 GiB free",
        ),
        ({"C:": 1 << 40, "D:": 0}, None),
        ({"D:": 1 << 40}, None),
    ],
    ids=["too small", "only the other one is", "not told"],
)
def test_the_drive_of_the_releases(free: dict[str, int], told: str | None) -> None:
    state = replace(FRESH, disks=machine.disks({"free": free}, LAYOUT))
    found = shortage(disk_needs(RELEASE, (), Lock(), state, LAYOUT), state)
    assert found is None if told is None else (found or "").startswith(told)
