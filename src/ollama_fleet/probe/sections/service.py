"""The service as its manager sees it, and the environment of the process behind it."""

from __future__ import annotations

import base64

from ollama_fleet.planner.items.access.places import UNIT_NAME as DOOR_UNIT
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
NEIGHBOURS = ("nftables.service", "firewalld.service", "ollama-fleet-firewall.service", DOOR_UNIT)
"""Other units whose state the sections of firewall and front door need; asked for in the same call."""


HARMLESS = "OLLAMA_*|CUDA_*|HIP_*|ROCR_*|HSA_*|GPU_*|GGML_*|LLAMA_ARG_*"
"""Variables whose values are never secret; of all others only a hash leaves the host."""
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
    instances = ""
    if layout.scope == "system":
        instances = f"""
only=${{pid:-0}}
for file in {word(layout.instances)}/*; do
  name=${{file##*/}}
  case $name in *[!a-z0-9-]*) continue ;; esac
  [ -f "$file" ] || continue
  echo "instance $name"
  shown=$(systemctl show "ollama@$name.service" {flags} 2>/dev/null)
  told {word(layout.instance_drop_in)}
  process "$file"
done
pid=$only"""
    return f"""
told() {{
  echo "$shown"
  pid=$(echo "$shown" | sed -n 's/^MainPID=//p' | head -n 1)
  for path in $(echo "$shown" | sed -n '1,/^$/s/^DropInPaths=//p'); do
    [ "$path" = "$1" ] ||
      echo "foreign $path $(head -c {LARGEST_DROP_IN} "$path" | base64 | tr -d '\\n')"
  done
}}
process() {{
  [ "${{pid:-0}}" -gt 0 ] && echo "runs_as $(stat -c %U "/proc/$pid")" && echo "program $(readlink "/proc/$pid/exe")"
  [ "${{pid:-0}}" -gt 0 ] && [ -r "/proc/$pid/environ" ] && {{
    echo environment
    names=" $(sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p' "$1" 2>/dev/null | tr '\\n' ' ')"
    tr '\\0' '\\n' <"/proc/$pid/environ" | while IFS= read -r line; do
      name=${{line%%=*}}
      case $names in *" $name "*) ;; *) continue ;; esac
      case $name in
        {HARMLESS}) printf 'plain %s\\n' "$line" ;;
        *) echo "hashed $name $(printf %s "${{line#*=}}" | sha256sum | cut -c1-64)" ;;
      esac
    done
  }}
}}
shown=$({show} 2>/dev/null)
told {word(layout.drop_in)}
supervised=$(cat {word(layout.state)}/server.pid 2>/dev/null)
# The number may be of another process by now, after a reboot.
if [ -n "$supervised" ] && grep -aq 'bin/ollama.serve' "/proc/$supervised/cmdline" 2>/dev/null; then
  echo "supervised $supervised"
  [ "${{pid:-0}}" -gt 0 ] || pid=$supervised
fi
process {word(layout.environment)}
{instances}
"""


def parse(lines: list[str]) -> tuple[ServiceState, dict[str, dict[str, str]]]:
    """Return the state of `ollama.service` and the properties of all units that were asked for with it."""
    return _service(_parts(lines)[""], "ollama.service")


def parse_instances(lines: list[str]) -> dict[str, ServiceState]:
    """Return the state of each of several servers, by its name."""
    return {name: _service(told, f"ollama@{name}.service")[0] for name, told in _parts(lines).items() if name}


def _parts(lines: list[str]) -> dict[str, list[str]]:
    """The lines about `ollama.service`, under no name, and those about each instance."""
    parts: dict[str, list[str]] = {"": []}
    name = ""
    for line in lines:
        if line.startswith("instance "):
            name = line.partition(" ")[2]
            parts[name] = []
        else:
            parts[name].append(line)
    return parts


def _service(lines: list[str], unit_name: str) -> tuple[ServiceState, dict[str, dict[str, str]]]:
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    supervised = 0
    environment: dict[str, str] | None = None
    hashes: dict[str, str] = {}
    runs_as = program = ""
    foreign: dict[str, str] = {}
    for line in [*lines, ""]:
        if line.startswith("supervised "):
            supervised = int(line.split()[1])
        elif line == "environment":
            environment = {}
        elif line.startswith("plain ") and environment is not None:
            name, _, value = line.removeprefix("plain ").partition("=")
            environment[name] = value
        elif line.startswith("hashed "):
            _, name, digest = line.split(" ")
            hashes[name] = digest
        elif line.startswith("runs_as "):
            runs_as = line.partition(" ")[2]
        elif line.startswith("program "):
            program = line.partition(" ")[2]
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
    unit = units.get(unit_name, {})
    active = unit.get("ActiveState", "inactive")
    supervising = bool(supervised) and active != "active"
    there = ServiceState(
        load="supervised" if supervising else unit.get("LoadState", "not-found"),
        active="active" if supervising else active,
        enabled=unit.get("UnitFileState", ""),
        pid=supervised if supervising else int(unit.get("MainPID", "0") or 0),
        runs_as=runs_as,
        program=program,
        needs_reload=unit.get("NeedDaemonReload") == "yes",
        fragment=unit.get("FragmentPath", ""),
        foreign_drop_ins=foreign,
        environment=environment,
        environment_hashes=hashes,
    )
    return there, units
