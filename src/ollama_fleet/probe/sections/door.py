"""The front door: its user and the proxies; its unit is asked for with the others, its files with all files."""

from __future__ import annotations

from collections.abc import Mapping

from ollama_fleet.planner.items.access import places
from ollama_fleet.planner.state import DoorState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word


def script(request: ProbeRequest) -> str:
    """Print a word for each that is there."""
    if request.layout.scope != "system":
        return ""
    programs = "\n".join(
        f"[ -x {word(proxy.program)} ] && echo {word(name)}" for name, proxy in places.PROXIES.items()
    )
    return f"""
getent passwd {word(places.USER)} >/dev/null && echo user
{programs}
"""


def parse(lines: list[str], units: Mapping[str, Mapping[str, str]]) -> DoorState:
    """Return the state, with what systemd says of the unit."""
    unit = units.get(places.UNIT_NAME, {})
    return DoorState(
        load=unit.get("LoadState", "not-found"),
        active=unit.get("ActiveState", "inactive"),
        enabled=unit.get("UnitFileState", ""),
        needs_reload=unit.get("NeedDaemonReload") == "yes",
        user="user" in lines,
        programs=frozenset(places.PROXIES) & frozenset(lines),
    )
