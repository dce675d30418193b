"""Directories and the files that operations write."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ollama_fleet.planner.state import FileState
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.probe.request import ProbeRequest


def script(request: ProbeRequest) -> str:
    """Set `files`; of the scripts that start servers, which may hold secrets, only the hash leaves the host."""
    layout = request.layout
    paths = (*layout.places(), layout.unproven, layout.kept, layout.before, layout.instance_note)
    script = layout.environment.rpartition("\\")[2].replace(".", "*.")
    return f"""
$scripts = @()
if (Test-Path -LiteralPath {literal(layout.state)} -PathType Container) {{
  $scripts = @(Get-ChildItem -LiteralPath {literal(layout.state)} -File -Force |
    Where-Object {{ $_.Name -like {literal(script)} }} | ForEach-Object {{ $_.FullName }})
}}
$others = @($scripts | Where-Object {{ $_ -ne {literal(layout.environment)} }})
foreach ($path in {array(paths)}) {{ $others += $path }}
$r.files = @(foreach ($path in $others) {{
  $item = Get-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
  if ($item) {{
    $hash = $null
    $content = $null
    if ({array((layout.before, layout.instance_note))} -contains $path -and -not $item.PSIsContainer) {{
      $content = [Convert]::ToBase64String([IO.File]::ReadAllBytes($path))
    }}
    if ($path -like {literal(layout.below(layout.state, script))} -and -not $item.PSIsContainer) {{
      $hash = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash
    }}
    @{{ path = $path; directory = [bool]$item.PSIsContainer; sha256 = $hash; content = $content }}
  }}
}})"""


def parse(found: Iterable[Mapping[str, Any]]) -> dict[str, FileState]:
    """Return the paths that exist; Windows has no modes."""
    return {
        str(item["path"]): FileState(
            kind="directory" if item["directory"] else "file",
            mode=0,
            owner="",
            group="",
            content=base64.b64decode(item["content"]) if item["content"] else None,
            sha256=str(item["sha256"]).lower() if item["sha256"] else None,
        )
        for item in found
    }
