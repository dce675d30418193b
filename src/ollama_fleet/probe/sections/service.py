"""The service as its manager sees it, and the environment of the process behind it."""

from __future__ import annotations

import base64
import shlex

from ollama_fleet.planner.state import ServiceState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "MainPID",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
)
NEIGHBOURS = ("nftables.service", "firewalld.service", "ollama-fleet-firewall.service")
"""Other units whose state the firewall section needs; asked for in the same call."""


def script(request: ProbeRequest) -> str:
    """Print systemd's properties (or the supervisor's process), then the process's environment."""
    layout = request.layout
    flags = " ".join(f"-p {name}" for name in PROPERTIES)
    if layout.scope == "system":
        show = f"systemctl show ollama.service {' '.join(NEIGHBOURS)} {flags}"
    else:
        show = f"systemctl --user show ollama.service {flags}"
    return f"""
shown=$({show} 2>/dev/null)
echo "$shown"
pid=$(echo "$shown" | sed -n 's/^MainPID=//p' | head -n 1)
supervised=$(cat {word(layout.state)}/server.pid 2>/dev/null)
if [ -n "$supervised" ] && [ -r "/proc/$supervised/environ" ]; then
  echo "supervised $supervised"
  [ "${{pid:-0}}" -gt 0 ] || pid=$supervised
fi
[ "${{pid:-0}}" -gt 0 ] && echo "environ $(base64 <"/proc/$pid/environ" 2>/dev/null | tr -d '\\n')"
"""


def parse(lines: list[str]) -> tuple[ServiceState, dict[str, dict[str, str]]]:
    """Return the state of `ollama.service` and the properties of all units that were asked for."""
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    supervised = 0
    environment: dict[str, str] | None = None
    for line in [*lines, ""]:
        if line.startswith("supervised "):
            supervised = int(line.split()[1])
        elif line.startswith("environ "):
            environment = _environment(base64.b64decode(line.partition(" ")[2])) or None
        elif "=" in line:
            key, _, value = line.partition("=")
            if key == "Id" and "Id" in block:
                units[block["Id"]], block = block, {}
            block[key] = value
        elif block:
            units[block.get("Id", "")], block = block, {}
    if block:
        units[block.get("Id", "")] = block
    return _service(units.get("ollama.service", {}), supervised, environment), units


def _service(unit: dict[str, str], supervised: int, environment: dict[str, str] | None) -> ServiceState:
    active = unit.get("ActiveState", "inactive")
    if supervised and active != "active":
        return ServiceState("supervised", "active", "", supervised, environment=environment)
    return ServiceState(
        load=unit.get("LoadState", "not-found"),
        active=active,
        enabled=unit.get("UnitFileState", ""),
        pid=int(unit.get("MainPID", "0") or 0),
        needs_reload=unit.get("NeedDaemonReload") == "yes",
        fragment=unit.get("FragmentPath", ""),
        drop_ins=tuple(shlex.split(unit.get("DropInPaths", ""))),
        environment=environment,
    )


def _environment(raw: bytes) -> dict[str, str]:
    pairs = (
        entry.partition("=") for entry in raw.decode(errors="surrogateescape").split("\0") if "=" in entry
    )
    return {key: value for key, _, value in pairs}
