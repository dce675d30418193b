"""Directories and the one file that operations write."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ollama_fleet.planner.state import FileState
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.probe.request import ProbeRequest


def script(request: ProbeRequest) -> str:
    """Set `files`; of the script that starts the server, which may hold secrets, only the hash leaves the host."""
    layout = request.layout
    paths = (*layout.places(), layout.unproven, layout.kept, layout.before)
    return f"""
$r.files = @(foreach ($path in {array(paths)}) {{
  $item = Get-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
  if ($item) {{
    $hash = $null
    $content = $null
    if ($path -eq {literal(layout.before)} -and -not $item.PSIsContainer) {{
      $content = [Convert]::ToBase64String([IO.File]::ReadAllBytes($path))
    }}
    if ($path -eq {literal(layout.environment)} -and -not $item.PSIsContainer) {{
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
