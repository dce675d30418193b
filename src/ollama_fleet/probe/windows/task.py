"""The scheduled tasks and the processes: servers, what started them, and the tray app that would start another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ollama_fleet.planner.state import ReleaseState, ServiceState
from ollama_fleet.planner.windows import task
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.planner.windows.state import TaskState, WindowsState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import release

SERVER, TRAY_APP, SHELL = "ollama.exe", "ollama app.exe", task.SHELL
_SERVES = re.compile(r'\bserve\s*"?\s*$')
_TASK = re.compile(r"Ollama-([a-z0-9-]+)")
_SCRIPT = re.compile(r'\\serve-([a-z0-9-]+)\.ps1"?\s*$', re.IGNORECASE)
_STARTED = "started-from"


def script(request: ProbeRequest) -> str:
    """Set `tasks`, `processes` and `started`; of other people's PowerShells nothing leaves the host."""
    state = literal(request.layout.state)
    named = literal(f"Name = '{SERVER}' OR Name = '{TRAY_APP}' OR Name = '{SHELL}'")
    return f"""
$r.tasks = @(foreach ($task in {task.all_tasks()}) {{
  $settings = $task.Settings
  @{{
    name = [string]$task.TaskName
    enabled = [bool]$settings.Enabled
    state = [string]$task.State
    execute = [string]$task.Actions[0].Execute
    arguments = [string]$task.Actions[0].Arguments
    user = [string]$task.Principal.UserId
    triggers = @($task.Triggers | ForEach-Object {{ [string]$_.CimClass.CimClassName }})
    limit = [string]$settings.ExecutionTimeLimit
    priority = [int]$settings.Priority
    stays = -not ($settings.DisallowStartIfOnBatteries -or $settings.StopIfGoingOnBatteries)
    restarts = [int]$settings.RestartCount
  }}
}})
$r.processes = @(Get-CimInstance -ClassName Win32_Process -Filter {named} | Where-Object {{
  $_.Name -ne '{SHELL}' -or $_.CommandLine -like '*\\serve-*.ps1*'
}} | ForEach-Object {{
  @{{
    id = [int]$_.ProcessId
    parent = [int]$_.ParentProcessId
    name = $_.Name
    path = $_.ExecutablePath
    line = $_.CommandLine
  }}
}})
$r.started = @{{}}
if (Test-Path -LiteralPath {state} -PathType Container) {{
  foreach ($file in @(Get-ChildItem -LiteralPath {state} -File -Force)) {{
    if ($file.Name -like '{_STARTED}*') {{
      $r.started[$file.Name] = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($file.FullName)).Trim()
    }}
  }}
}}"""


def parse(found: Mapping[str, Any]) -> tuple[ServiceState, dict[str, ServiceState], WindowsState]:
    """Read the tasks and the processes: the only server, those of several by name, and what only Windows has.

    A server is that of the instance whose script has started it. Any other may be our only one, or the adopted one;
    whose it is, the planner compares.
    """
    processes = found["processes"]
    scripts = {
        item["id"]: matched[1]
        for item in processes
        if item["name"].lower() == SHELL and (matched := _SCRIPT.search(item["line"] or ""))
    }
    serving = [
        item for item in processes if item["name"].lower() == SERVER and _SERVES.search(item["line"] or "")
    ]
    tasks = {str(known["name"]): known for known in found["tasks"]}
    named = {matched[1]: known for name, known in tasks.items() if (matched := _TASK.fullmatch(name))}
    with_files = (_SCRIPT.search(item["path"]) for item in found["files"])
    names = {*named, *scripts.values(), *(matched[1] for matched in with_files if matched)}
    started = {str(name): str(text).lower() for name, text in found["started"].items()}
    only = next((item for item in serving if item["parent"] not in scripts), None)
    instances = {
        name: _service(
            named.get(name), next((item for item in serving if scripts.get(item["parent"]) == name), None)
        )
        for name in sorted(names)
    }
    windows = WindowsState(
        variables={str(name): str(value) for name, value in found["variables"].items()},
        task=_task(tasks["Ollama"]) if "Ollama" in tasks else None,
        started_from=started.get(_STARTED, ""),
        setups=release.setups(found["setups"]),
        tray_apps=sum(item["name"].lower() == TRAY_APP for item in processes),
        tasks={name: _task(known) for name, known in named.items()},
        several_from={name: started.get(f"{_STARTED}-{name}", "") for name in names},
    )
    return _service(tasks.get("Ollama"), only), instances, windows


def _service(known: Mapping[str, Any] | None, server: Mapping[str, Any] | None) -> ServiceState:
    return ServiceState(
        load="not-found" if known is None else "loaded",
        active="active" if server else "inactive",
        enabled="" if known is None else "enabled" if known["enabled"] else "disabled",
        pid=int(server["id"]) if server else 0,
        program=str(server["path"] or "") if server else "",
    )


def with_foreign(releases: ReleaseState, windows: WindowsState) -> ReleaseState:
    """Add to the releases what somebody else has installed."""
    return replace(releases, foreign=release.foreign(windows.setups))


def _task(known: Mapping[str, Any]) -> TaskState:
    triggers = known["triggers"]
    return TaskState(
        enabled=bool(known["enabled"]),
        running=known["state"] == "Running",
        definition={
            "execute": str(known["execute"]),
            "arguments": str(known["arguments"]),
            "user": str(known["user"]),
            "trigger": ", ".join(map(str, triggers)),
            "time limit": str(known["limit"]),
            "priority": str(known["priority"]),
            "on batteries": str(bool(known["stays"])),
            "restarts": str(known["restarts"]),
        },
    )
