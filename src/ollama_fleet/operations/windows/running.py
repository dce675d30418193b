"""Small scripts for what the operations common to all hosts ask or do on Windows."""

from __future__ import annotations

from collections.abc import Iterable

from ollama_fleet.operations.windows.script import administrators_only, make_directory, remove, write_text
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.record import KEPT
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows import task
from ollama_fleet.planner.windows.quoting import array, literal


def listener(port: int) -> str:
    """Print `ours`, or `other` with who it is."""
    return f"""
foreach ($connection in @(Get-NetTCPConnection -State Listen -LocalPort {port} -ErrorAction SilentlyContinue)) {{
  $filter = 'ProcessId = ' + [string]$connection.OwningProcess
  $process = Get-CimInstance -ClassName Win32_Process -Filter $filter
  if ($process.Name -eq 'ollama.exe') {{ 'ours' }}
  else {{ 'other ' + $process.Name + ' (process ' + [string]$connection.OwningProcess + ')' }}
  exit 0
}}"""


def why_down(layout: Layout) -> str:
    """Print `state` of the task, and the last line that the server has `said`."""
    log = literal(layout.server_log)
    return f"""
$task = Get-ScheduledTask -TaskPath {literal(task.PATH)} -TaskName {literal(layout.task)} -ErrorAction SilentlyContinue
'state ' + [string]$task.State
if ([IO.File]::Exists({log})) {{
  try {{
    $said = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes({log})).Trim()
    'said ' + $said.Substring($said.LastIndexOf([char]10) + 1)
  }} catch {{ }}
}}"""


def remove_files(paths: Iterable[str]) -> str:
    """Remove files that may be there."""
    return "\n".join(remove(path) for path in paths)


def remove_bad_blobs(paths: Iterable[str]) -> str:
    """Remove blobs that do not have the digest in their name."""
    return f"""
foreach ($blob in {array(paths)}) {{
  if ([IO.File]::Exists($blob)) {{
    $name = 'sha256-' + (Get-FileHash -LiteralPath $blob -Algorithm SHA256).Hash.ToLower()
    if (-not $blob.EndsWith($name)) {{ Remove-Item -LiteralPath $blob -Force }}
  }}
}}"""


def remove_release(layout: Layout, version: str) -> str:
    """Remove a version's directory, under a name that says so should this be cut off."""
    path = f"{layout.releases}\\{version}"
    going = path if version.endswith((".old", ".new")) else f"{path}.old"
    lines = (
        []
        if going == path
        else [remove(going), f"Move-Item -LiteralPath {literal(path)} -Destination {literal(going)}"]
    )
    return "\n".join([*lines, remove(going)])


def write_record(layout: Layout, name: str, line: str) -> str:
    """Write the record of an apply beside its place and move it there; the oldest go."""
    history = layout.history
    path = layout.below(history, f"{name}.json")
    return f"""
{make_directory(layout.state)}
{administrators_only(layout.state)}
{make_directory(history)}
{write_text(path, line)}
$records = @(Get-ChildItem -LiteralPath {literal(history)} -File -Force | ForEach-Object {{ $_.FullName }})
[Array]::Sort($records, [StringComparer]::Ordinal)
while ($records.Count -gt {KEPT}) {{
  Remove-Item -LiteralPath $records[0] -Force
  $records = @($records | Where-Object {{ $_ -ne $records[0] }})
}}"""


def note_before(layout: Layout, note: str, state: HostState) -> list[str]:
    """Write what was not on the host before us; nothing where that is noted already."""
    there = state.files.get(layout.before)
    if there is not None and there.content == note.encode():
        return []
    return [write_text(layout.before, note)]


def lock(layout: Layout, holder: str) -> str:
    """Print `locked` and hold the lock until standard input ends, or print who has it.

    The lock is a file open for nobody else: Windows closes it when the process ends, however it ends.
    """
    mine, who = literal(layout.apply_lock), literal(layout.apply_holder)
    return f"""
{make_directory(layout.root)}
try {{ $held = [IO.File]::Open({mine}, 'OpenOrCreate', 'ReadWrite', 'None') }} catch {{ $held = $null }}
if ($held) {{
  [IO.File]::WriteAllBytes({who}, [Text.Encoding]::UTF8.GetBytes({literal(holder)}))
  [Console]::Out.WriteLine('locked')
  [Console]::Out.Flush()
  $rest = [Console]::In.ReadToEnd()
  $held.Close()
}} else {{
  $other = ''
  if ([IO.File]::Exists({who})) {{ $other = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes({who})) }}
  'another apply is at work here: ' + $other + '; wait until it has ended'
}}"""
