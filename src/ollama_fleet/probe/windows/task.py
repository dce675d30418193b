"""The scheduled task and the processes: the server, and the tray app that would start another."""

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

SERVER, TRAY_APP = "ollama.exe", "ollama app.exe"
_SERVES = re.compile(r'\bserve\s*"?\s*$')


def script(request: ProbeRequest) -> str:
    """Set `task`, `processes` and `started`."""
    started = literal(f"{request.layout.state}\\started-from")
    named = literal(f"Name = '{SERVER}' OR Name = '{TRAY_APP}'")
    return f"""
$r.task = $null
$task = Get-ScheduledTask -TaskPath '{task.PATH}' -TaskName '{task.NAME}' -ErrorAction SilentlyContinue
if ($task) {{
  $settings = $task.Settings
  $r.task = @{{
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
}}
$r.processes = @(Get-CimInstance -ClassName Win32_Process -Filter {named} | ForEach-Object {{
  @{{ id = [int]$_.ProcessId; name = $_.Name; path = $_.ExecutablePath; line = $_.CommandLine }}
}})
$r.started = ''
if ([IO.File]::Exists({started})) {{
  $r.started = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes({started})).Trim()
}}"""


def parse(found: Mapping[str, Any]) -> tuple[ServiceState, WindowsState]:
    """Read the task and the processes, and put together what only Windows has.

    The server may be one of ours or the adopted one; whose it is, the planner compares.
    """
    processes = found["processes"]
    serving = [
        item for item in processes if item["name"].lower() == SERVER and _SERVES.search(item["line"] or "")
    ]
    server = next(iter(serving), None)
    known = found["task"]
    running = ServiceState(
        load="not-found" if known is None else "loaded",
        active="active" if server else "inactive",
        enabled="" if known is None else "enabled" if known["enabled"] else "disabled",
        pid=int(server["id"]) if server else 0,
        program=str(server["path"] or "") if server else "",
    )
    windows = WindowsState(
        variables={str(name): str(value) for name, value in found["variables"].items()},
        task=None if known is None else _task(known),
        started_from=str(found["started"]).lower(),
        setups=release.setups(found["setups"]),
        tray_apps=sum(item["name"].lower() == TRAY_APP for item in processes),
    )
    return running, windows


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
