"""The models directory: every manifest whole, blobs by size, small blobs whole.

Manifests and small blobs travel in one tar stream, so a hundred models cost no more processes than one.
"""

from __future__ import annotations

import base64
import io
import tarfile

from ollama_fleet.artifacts.names import ModelName, ModelNameError
from ollama_fleet.planner.state import ModelStore, StoredModel
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word

SMALL_BLOB = 8192
"""Bytes: parameters, prompts and templates are below, weights far above."""
LARGEST_MANIFEST = 1 << 20
BLOB_PREFIX = "sha256-"


def script(request: ProbeRequest) -> str:
    """Print blob sizes and the tar stream; `cd` fails where there is no models directory yet."""
    return f"""
if cd {word(request.layout.models)} 2>/dev/null; then
  find blobs -maxdepth 1 -type f -name '{BLOB_PREFIX}*' \\( -name '*-partial' -printf 'partial %f %b\\n' -o \\
    ! -name '*-partial*' -printf 'blob %f %s\\n' \\) 2>/dev/null
  echo "tar $({{
    find manifests -type f -size -{LARGEST_MANIFEST // 1024}k -print0
    find blobs -maxdepth 1 -type f -name '{BLOB_PREFIX}*' ! -name '*-partial*' -size -{SMALL_BLOB // 512 + 1}b -print0
  }} 2>/dev/null | tar -czf - --null -T - 2>/dev/null | base64 | tr -d '\\n')"
  cd /
fi
"""


def parse(lines: list[str]) -> ModelStore:
    """Read sizes and the tar stream; files whose names are no model names are passed over."""
    sizes: dict[str, int] = {}
    models: list[StoredModel] = []
    small: dict[str, bytes] = {}
    partial: dict[str, int] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "blob":
            name, size = rest.rsplit(" ", 1)
            sizes[_digest(name)] = int(size)
        elif tag == "partial":
            # The file has its final length from the start; what counts is what it takes on the disk.
            name, blocks = rest.rsplit(" ", 1)
            partial[_digest(name.removesuffix("-partial"))] = int(blocks) * 512
        elif tag == "tar" and rest:
            for name, content in _members(base64.b64decode(rest)):
                folder, _, path = name.partition("/")
                if folder == "blobs":
                    small[_digest(path)] = content
                else:
                    try:
                        models.append(StoredModel(ModelName.from_manifest_path(path), content))
                    except ModelNameError:
                        continue
    return ModelStore(tuple(models), sizes, small, partial)


def _digest(file_name: str) -> str:
    return file_name.replace(BLOB_PREFIX, "sha256:", 1)


def _members(archive: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [
            (member.name, extracted.read())
            for member in tar
            if member.isfile() and (extracted := tar.extractfile(member)) is not None
        ]
