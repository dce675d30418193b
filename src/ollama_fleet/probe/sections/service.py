"""The service as its manager sees it, and the environment of the process behind it."""

from __future__ import annotations

import base64

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


LARGEST_DROP_IN = 65536
"""Bytes that are read of a drop-in of somebody else."""


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
for path in $(echo "$shown" | sed -n '1,/^$/s/^DropInPaths=//p'); do
  [ "$path" = {word(layout.drop_in)} ] ||
    echo "foreign $path $(head -c {LARGEST_DROP_IN} "$path" | base64 | tr -d '\\n')"
done
supervised=$(cat {word(layout.state)}/server.pid 2>/dev/null)
if [ -n "$supervised" ] && [ -r "/proc/$supervised/environ" ]; then
  echo "supervised $supervised"
  [ "${{pid:-0}}" -gt 0 ] || pid=$supervised
fi
[ "${{pid:-0}}" -gt 0 ] && echo "runs_as $(stat -c %U "/proc/$pid")"
[ "${{pid:-0}}" -gt 0 ] && echo "environ $(base64 <"/proc/$pid/environ" 2>/dev/null | tr -d '\\n')"
"""


def parse(lines: list[str]) -> tuple[ServiceState, dict[str, dict[str, str]]]:
    """Return the state of `ollama.service` and the properties of all units that were asked for."""
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    supervised = 0
    environment: dict[str, str] | None = None
    runs_as = ""
    foreign: dict[str, str] = {}
    for line in [*lines, ""]:
        if line.startswith("supervised "):
            supervised = int(line.split()[1])
        elif line.startswith("environ "):
            environment = _environment(base64.b64decode(line.partition(" ")[2])) or None
        elif line.startswith("runs_as "):
            runs_as = line.split()[1]
        elif line.startswith("foreign "):
            _, path, encoded = line.split(" ", 2)
            foreign[path] = base64.b64decode(encoded).decode(errors="replace")
        elif "=" in line:
            key, _, value = line.partition("=")
            if key == "Id" and "Id" in block:
                units[block["Id"]], block = block, {}
            block[key] = value
        elif block:
            units[block.get("Id", "")], block = block, {}
    if block:
        units[block.get("Id", "")] = block
    unit = units.get("ollama.service", {})
    active = unit.get("ActiveState", "inactive")
    if supervised and active != "active":
        there = ServiceState("supervised", "active", pid=supervised, runs_as=runs_as, environment=environment)
        return there, units
    there = ServiceState(
        load=unit.get("LoadState", "not-found"),
        active=active,
        enabled=unit.get("UnitFileState", ""),
        pid=int(unit.get("MainPID", "0") or 0),
        runs_as=runs_as,
        needs_reload=unit.get("NeedDaemonReload") == "yes",
        fragment=unit.get("FragmentPath", ""),
        foreign_drop_ins=foreign,
        environment=environment,
    )
    return there, units


def _environment(raw: bytes) -> dict[str, str]:
    entries = raw.decode(errors="surrogateescape").split("\0")
    pairs = (entry.partition("=") for entry in entries if "=" in entry)
    return {key: value for key, _, value in pairs}
