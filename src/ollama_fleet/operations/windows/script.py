"""Pieces of PowerShell that several operations need. All values are quoted here, none before."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from pyinfra.api.command import StringCommand

from ollama_fleet.operations.shell import Remembered
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.windows import task
from ollama_fleet.planner.windows.quoting import array, literal

ADMINISTRATORS_ONLY = ("*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F")
"""SYSTEM and the group Administrators, by number: their names depend on the language."""
STOP_WITHIN = 80
"""Quarters of a second."""


def powershell(*lines: str) -> StringCommand:
    """One command; the connector makes it stop at the first line that fails."""
    return Remembered("\n".join(lines))


def checked(program: str) -> str:
    """What follows the call of a program: PowerShell does not mind its exit code."""
    return f"if ($LASTEXITCODE -ne 0) {{ throw ({literal(program + ' failed with exit code ')} + $LASTEXITCODE) }}"


def make_directory(path: str) -> str:
    """Make a directory and those above it, where they are missing."""
    return f"[IO.Directory]::CreateDirectory({literal(path)}) | Out-Null"


def administrators_only(path: str) -> str:
    """Shut a directory to everybody but SYSTEM and administrators, whatever it would inherit."""
    grants = " ".join(literal(grant) for grant in ADMINISTRATORS_ONLY)
    return f"& icacls.exe {literal(path)} '/inheritance:r' '/grant:r' {grants} | Out-Null\n{checked('icacls.exe')}"


def write_secret_file(path: str, content: bytes) -> StringCommand:
    """Write a file beside its place and move it there; the content is on standard input, in no command line."""
    lines = [
        f"$new = {literal(path)} + '.fleet-new'",
        "[IO.File]::WriteAllBytes($new, [Convert]::FromBase64String([Console]::In.ReadLine()))",
        f"Move-Item -LiteralPath $new -Destination {literal(path)} -Force",
    ]
    return StringCommand("\n".join(lines), _stdin=base64.b64encode(content).decode())


def write_text(path: str, text: str) -> str:
    """Write a short file beside its place and move it there."""
    beside = f"{path}.fleet-new"
    return "\n".join(
        [
            f"[IO.File]::WriteAllBytes({literal(beside)}, [Text.Encoding]::UTF8.GetBytes({literal(text)}))",
            f"Move-Item -LiteralPath {literal(beside)} -Destination {literal(path)} -Force",
        ]
    )


def remove(path: str) -> str:
    """Remove a file or a directory with all in it, where it is there."""
    quoted = literal(path)
    return f"if (Test-Path -LiteralPath {quoted}) {{ Remove-Item -LiteralPath {quoted} -Recurse -Force }}"


_ENGINE = "'Name = ''ollama.exe'' OR Name = ''llama-server.exe'''"


def stop_server() -> str:
    """Stop our tasks and their servers, and wait until they have ended; a server started by hand too."""
    return _ending(
        task.all_tasks(),
        f"""Get-CimInstance -ClassName Win32_Process -Filter {_ENGINE} | Where-Object {{
    $_.Name -eq 'llama-server.exe' -or $_.CommandLine -like '* serve*' -or $_.CommandLine -like '* runner *'
  }}""",
    )


def stop_some(going: Sequence[Layout]) -> str:
    """Stop the tasks of these servers, with what they have started, and wait; the servers of other tasks go on.

    A server is known by the process that has started it: the PowerShell that runs the task's script. The only server
    is each that none of several has started, also one that somebody has started by hand.
    """
    wanted = [f"$_.CommandLine -like {literal(f'*{_script_name(one)}*')}" for one in going if one.instance]
    scripts = " -or ".join(wanted) or "$false"
    only = any(not one.instance for one in going)
    named = "$_.Name -eq 'ollama.exe' -and $_.CommandLine -like '* serve*' -and $others -notcontains $_.ParentProcessId"
    tasks = array(one.task for one in going)
    shells = "Get-CimInstance -ClassName Win32_Process -Filter 'Name = ''powershell.exe'''"
    ids = "ForEach-Object { $_.ProcessId }"
    ending = _ending(
        f"{task.all_tasks()} | Where-Object {{ {tasks} -contains $_.TaskName }}",
        f"Get-CimInstance -ClassName Win32_Process -Filter {_ENGINE} | "
        "Where-Object { $going -contains $_.ProcessId }",
    )
    return f"""
$shells = @({shells} | Where-Object {{ {scripts} }} | {ids})
$others = @({shells} | Where-Object {{ $_.CommandLine -like '*\\serve-*.ps1*' }} | {ids})
$engine = @(Get-CimInstance -ClassName Win32_Process -Filter {_ENGINE})
$servers = @($engine | Where-Object {{
  $shells -contains $_.ParentProcessId -or ({named if only else "$false"})
}} | {ids})
$going = @($engine | Where-Object {{
  $servers -contains $_.ProcessId -or $servers -contains $_.ParentProcessId
}} | {ids})
{ending}"""


def _script_name(layout: Layout) -> str:
    """The end of a start script's path; no other script's path has it."""
    return "\\" + layout.environment.rpartition("\\")[2]


def _ending(tasks: str, processes: str) -> str:
    """Stop what these pipelines find until they find nothing that runs."""
    return f"""
foreach ($task in @({tasks})) {{ Stop-ScheduledTask -TaskPath '{task.PATH}' -TaskName $task.TaskName }}
$left = {STOP_WITHIN}
while ($left -gt 0) {{
  $running = @({processes})
  $busy = @({tasks} | Where-Object {{ [string]$_.State -eq 'Running' }})
  if ($running.Count -eq 0 -and $busy.Count -eq 0) {{ break }}
  foreach ($process in $running) {{ Stop-Process -Id $process.ProcessId -Force -ErrorAction SilentlyContinue }}
  Start-Sleep -Milliseconds 250
  $left -= 1
}}
if ($left -eq 0) {{ throw 'the running Ollama does not end' }}"""


def register_task(name: str, xml: str) -> str:
    """Register one of our tasks, or write it anew; `xml` is PowerShell for its definition."""
    return f"Register-ScheduledTask -TaskPath '{task.PATH}' -TaskName {literal(name)} -Xml {xml} -Force | Out-Null"


def unregister_task(name: str) -> str:
    """Remove one of our tasks."""
    return f"Unregister-ScheduledTask -TaskPath '{task.PATH}' -TaskName {literal(name)} -Confirm:$false"


def start_task(name: str) -> str:
    """Have one of our tasks run."""
    return f"Start-ScheduledTask -TaskPath '{task.PATH}' -TaskName {literal(name)}"
