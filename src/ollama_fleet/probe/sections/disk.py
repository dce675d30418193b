"""Free space where releases and models go, or would go: of the nearest directory above that exists."""

from __future__ import annotations

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import DiskState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word


def script(request: ProbeRequest) -> str:
    """Print per place the file system's number, free blocks (for others than root) and the size of a block."""
    layout = request.layout
    return f"""
existing() {{ at=$1; while [ ! -e "$at" ] && [ -n "${{at%/*}}" ]; do at=${{at%/*}}; done; [ -e "$at" ] || at=/; }}
existing {word(layout.releases)}; releases=$at
existing {word(layout.models)}
stat -L -c 'number %d' "$releases" "$at" 2>/dev/null
stat -f -c 'free %a %S' "$releases" "$at" 2>/dev/null
"""


def parse(lines: list[str], layout: Layout) -> dict[str, DiskState]:
    """Return the two places by path; nothing where this `stat` does not tell."""
    numbers = [line.split()[1] for line in lines if line.startswith("number ")]
    free = [line.split()[1:] for line in lines if line.startswith("free ")]
    places = (layout.releases, layout.models)
    if len(numbers) != len(places) or len(free) != len(places):
        return {}
    return {
        place: DiskState(number, int(blocks) * int(size))
        for place, number, (blocks, size) in zip(places, numbers, free, strict=True)
    }
