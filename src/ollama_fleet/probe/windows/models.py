"""The models directory: every manifest whole, blobs by size, small blobs whole."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.planner.state import ModelStore, StoredModel
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections.models import BLOB_PREFIX, LARGEST_MANIFEST, SMALL_BLOB


def script(request: ProbeRequest) -> str:
    """Set `models`."""
    return f"""
$r.models = @{{ manifests = @(); blobs = @() }}
$manifests = {literal(request.layout.models)} + '\\manifests'
$blobs = {literal(request.layout.models)} + '\\blobs'
if (Test-Path -LiteralPath $manifests -PathType Container) {{
  $r.models.manifests = @(Get-ChildItem -LiteralPath $manifests -Recurse -File -Force |
    Where-Object {{ $_.Length -lt {LARGEST_MANIFEST} }} | ForEach-Object {{
      $content = [Convert]::ToBase64String([IO.File]::ReadAllBytes($_.FullName))
      @{{ path = $_.FullName.Substring($manifests.Length + 1); content = $content }}
    }})
}}
if (Test-Path -LiteralPath $blobs -PathType Container) {{
  $r.models.blobs = @(Get-ChildItem -LiteralPath $blobs -File -Force |
    Where-Object {{ $_.Name -like '{BLOB_PREFIX}*' -and $_.Name -notlike '*-partial*' }} | ForEach-Object {{
      $content = $null
      if ($_.Length -le {SMALL_BLOB}) {{ $content = [Convert]::ToBase64String([IO.File]::ReadAllBytes($_.FullName)) }}
      @{{ name = $_.Name; size = $_.Length; content = $content }}
    }})
}}"""


def parse(found: Mapping[str, Any]) -> ModelStore:
    """Read `models`; files whose names are no model names are passed over."""
    models = []
    for item in found["manifests"]:
        try:
            name = ModelName.from_manifest_path(str(item["path"]).replace("\\", "/"))
        except ModelNameError:
            continue
        models.append(StoredModel(name, base64.b64decode(item["content"])))
    sizes: dict[str, int] = {}
    small: dict[str, bytes] = {}
    for item in found["blobs"]:
        digest = str(item["name"]).replace(BLOB_PREFIX, "sha256:", 1)
        sizes[digest] = int(item["size"])
        if item["content"] is not None:
            small[digest] = base64.b64decode(item["content"])
    return ModelStore(tuple(models), sizes, small)
