"""Ollama servers beside the service's, and models at other places than the plan's. Comes after the service section."""

from __future__ import annotations

from ollama_fleet.planner.state import OtherModels, OtherServer
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word, words

MODELS_OF_OTHERS = (
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/root/.ollama/models",
)
"""Where the upstream script, packages and a server run by root keep models, unless told otherwise."""
SERVE = "ollama[^[:print:]]serve"
"""In a command line, where a NUL separates the words; not matched by a script that holds this text."""


def script(request: ProbeRequest) -> str:
    """Print other servers, and models where they, or one of before, keep them; `$pid` is the service's process."""
    layout = request.layout
    usual = words(MODELS_OF_OTHERS) if layout.scope == "system" else ""
    return f"""
variable() {{ tr '\\0' '\\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s/^$2=//p" | head -n 1; }}
models_of() {{ place=$(variable "$1" OLLAMA_MODELS); echo "${{place:-$(variable "$1" HOME)/.ollama/models}}"; }}
stores=
[ "${{pid:-0}}" -eq 0 ] || stores=$(models_of "$pid")
for found in $(grep -la '{SERVE}' /proc/[0-9]*/cmdline 2>/dev/null); do
  other=${{found#/proc/}} other=${{other%/cmdline}}
  unit=$(sed -n 's/^[0-9]*:[^:]*:.*\\/\\([^/]*[.]service\\)$/\\1/p' "/proc/$other/cgroup" 2>/dev/null | head -n 1)
  grep -q '/user[.]slice/' "/proc/$other/cgroup" 2>/dev/null && unit=
  case $unit in ollama@*.service)
    name=${{unit#ollama@}}; [ -f {word(layout.instances)}/"${{name%.service}}" ] && continue ;; esac
  [ "$other" = "${{pid:-0}}" ] || [ "$unit" = ollama.service ] || {{
    echo "other $other unit=$unit listen=$(variable "$other" OLLAMA_HOST)"
    stores="$stores
$(models_of "$other")"
  }}
done
{{ echo "$stores"; printf '%s\\n' {usual}; }} | sort -u | while IFS= read -r place; do
  [ -d "$place/manifests" ] && ! [ "$place" -ef {word(layout.models)} ] || continue
  count=$(find "$place/manifests" -type f 2>/dev/null | wc -l)
  [ "$count" -eq 0 ] || echo "store $count $(du -sk "$place" 2>/dev/null | cut -f1) $place"
done
"""


def parse(lines: list[str]) -> tuple[tuple[OtherServer, ...], tuple[OtherModels, ...]]:
    """Return the servers and the directories."""
    servers: list[OtherServer] = []
    stores: list[OtherModels] = []
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "other":
            pid, unit, listen = rest.split(" ", 2)
            listen = listen.removeprefix("listen=").strip()
            servers.append(OtherServer(int(pid), unit.removeprefix("unit="), listen))
        elif tag == "store":
            count, kilobytes, path = rest.split(" ", 2)
            stores.append(OtherModels(path, int(count), int(kilobytes or 0) << 10))
    return tuple(servers), tuple(stores)
