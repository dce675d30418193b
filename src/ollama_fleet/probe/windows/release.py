"""Unpacked releases, the one in use, and what OllamaSetup or winget has installed for a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ollama_fleet.planner.state import ForeignBinary, InstalledVersion, ReleaseState
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.planner.windows.state import SetupInstall
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections.release import version_in

STAMP = ".installed"
CURRENT, PREVIOUS = "current", "previous"
"""Files beside the versions' directories that hold the name of one."""
_PROGRAM = "\\AppData\\Local\\Programs\\Ollama\\ollama.exe"
_LINK = "\\AppData\\Roaming\\Microsoft\\Windows\\Start Menu\\Programs\\Startup\\Ollama.lnk"
_SETTINGS = "\\AppData\\Local\\Ollama\\db.sqlite"


def evidence() -> str:
    """PowerShell that makes of `$directory` the `$evidence`: the program's hash, the others' size and time."""
    return f"""
$lines = @(Get-ChildItem -LiteralPath $directory -Recurse -File -Force | Where-Object {{ $_.Name -ne '{STAMP}' }} |
  ForEach-Object {{
    $_.FullName.Substring($directory.Length) + ' ' + [string]$_.Length + ' ' + [string]$_.LastWriteTimeUtc.Ticks
  }})
[Array]::Sort($lines, [StringComparer]::Ordinal)
$sum = [Security.Cryptography.SHA256]::Create().ComputeHash([Text.Encoding]::UTF8.GetBytes($lines -join '|'))
$evidence = (Get-FileHash -LiteralPath ($directory + '\\ollama.exe') -Algorithm SHA256).Hash
$evidence = ($evidence + ':' + [BitConverter]::ToString($sum).Replace('-', '')).ToLower()"""


def script(request: ProbeRequest) -> str:
    """Set `release`, and `setups`."""
    base = request.layout.releases
    return f"""
$base = {literal(base)}
$r.release = @{{ {CURRENT} = ''; {PREVIOUS} = ''; versions = @() }}
if (Test-Path -LiteralPath $base -PathType Container) {{
  foreach ($name in @('{CURRENT}', '{PREVIOUS}')) {{
    $path = $base + '\\' + $name
    if ([IO.File]::Exists($path)) {{
      $r.release[$name] = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($path)).Trim()
    }}
  }}
  foreach ($folder in @(Get-ChildItem -LiteralPath $base -Directory -Force)) {{
    $directory = $folder.FullName
    if (-not [IO.File]::Exists($directory + '\\ollama.exe')) {{ continue }}
    $stamp = ''
    $evidence = $null
    $size = 0
    if ([IO.File]::Exists($directory + '\\{STAMP}')) {{
      $stamp = [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($directory + '\\{STAMP}')).Trim()
    }}
    if ($folder.Name -eq $r.release.{CURRENT}) {{
{evidence()}
    }}
    foreach ($file in @(Get-ChildItem -LiteralPath $directory -Recurse -File -Force)) {{ $size += $file.Length }}
    $r.release.versions += @{{ name = $folder.Name; stamp = $stamp; evidence = $evidence; size = $size }}
  }}
}}
$r.setups = @()
foreach ($user in @(Get-ChildItem -LiteralPath 'C:\\Users' -Directory -Force -ErrorAction SilentlyContinue)) {{
  $program = $user.FullName + {literal(_PROGRAM)}
  if ([IO.File]::Exists($program)) {{
    $link = $user.FullName + {literal(_LINK)}
    if (-not [IO.File]::Exists($link)) {{ $link = $null }}
    $said = @(& $program '--version') -join ' '
    $settings = [IO.File]::Exists($user.FullName + {literal(_SETTINGS)})
    $r.setups += @{{ program = $program; said = $said; link = $link; settings = $settings }}
  }}
}}"""


def parse(found: Mapping[str, Any]) -> ReleaseState:
    """Read `release`."""
    return ReleaseState(
        current=found[CURRENT] or None,
        previous=found[PREVIOUS] or None,
        versions={
            str(item["name"]): InstalledVersion(str(item["stamp"]), item["evidence"], int(item["size"]))
            for item in found["versions"]
        },
    )


def setups(found: list[Mapping[str, Any]]) -> tuple[SetupInstall, ...]:
    """Read `setups`."""
    return tuple(
        SetupInstall(
            program=str(item["program"]),
            version=version_in(str(item["said"])),
            startup_link=item["link"],
            settings=bool(item["settings"]),
        )
        for item in found
    )


def foreign(there: tuple[SetupInstall, ...]) -> ForeignBinary | None:
    """The installation of somebody else that could be adopted: the first."""
    return ForeignBinary(there[0].program, there[0].version) if there else None
