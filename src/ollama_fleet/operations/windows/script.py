"""Pieces of PowerShell that several operations need. All values are quoted here, none before."""

from __future__ import annotations

import base64

from pyinfra.api.command import StringCommand

from ollama_fleet.operations.shell import Remembered
from ollama_fleet.planner.windows.quoting import literal

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


def stop_server() -> str:
    """Stop the task and its server, and wait until they have ended; a server started by hand too."""
    return f"""
$task = Get-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama' -ErrorAction SilentlyContinue
if ($task) {{ Stop-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama' }}
$named = 'Name = ''ollama.exe'' OR Name = ''llama-server.exe'''
$left = {STOP_WITHIN}
while ($left -gt 0) {{
  $running = @(Get-CimInstance -ClassName Win32_Process -Filter $named | Where-Object {{
    $_.Name -eq 'llama-server.exe' -or $_.CommandLine -like '* serve*' -or $_.CommandLine -like '* runner *'
  }})
  $task = Get-ScheduledTask -TaskPath '\\Fleet\\' -TaskName 'Ollama' -ErrorAction SilentlyContinue
  if ($running.Count -eq 0 -and [string]$task.State -ne 'Running') {{ break }}
  foreach ($process in $running) {{ Stop-Process -Id $process.ProcessId -Force -ErrorAction SilentlyContinue }}
  Start-Sleep -Milliseconds 250
  $left -= 1
}}
if ($left -eq 0) {{ throw 'the running Ollama does not end' }}"""
