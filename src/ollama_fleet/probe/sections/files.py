"""Files, links and directories that operations write, and the directories on the way to them."""

from __future__ import annotations

import base64
from dataclasses import replace

from ollama_fleet.planner.state import FileKind, FileState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word, words

KINDS: dict[str, FileKind] = {
    "regular file": "file",
    "regular empty file": "file",
    "directory": "directory",
    "symbolic link": "link",
}


def script(request: ProbeRequest) -> str:
    """One `stat` for all paths; then the small files' content, but of those that may hold secrets the hash."""
    instances = request.layout.instances
    of_instances = ""
    if request.layout.scope == "system":
        of_instances = f"""
for path in {word(instances)}/*; do
  [ -f "$path" ] && stat -c 'stat %a|%U|%G|%F|%n' "$path" && [ -r "$path" ] &&
    echo "sha256 $(sha256sum <"$path" | cut -c1-64) $path"
done 2>/dev/null"""
    # The models may lie on a big disk behind a link: what counts is where it leads, so that comes last.
    contents = "\n".join(
        f'[ -f {word(path)} ] && [ -r {word(path)} ] && echo "content {index} $(base64 <{word(path)} | tr -d "\\n")"'
        for index, path in enumerate(request.contents())
    )
    hashes = "\n".join(
        f'[ -f {word(path)} ] && [ -r {word(path)} ] && echo "hashed {index} $(sha256sum <{word(path)} | cut -c1-64)"'
        for index, path in enumerate(request.hashed())
    )
    return f"""
stat -c 'stat %a|%U|%G|%F|%n' {words(request.paths())} 2>/dev/null
stat -L -c 'stat %a|%U|%G|%F|%n' {word(request.layout.models)} 2>/dev/null
{contents}
{hashes}
{of_instances}
"""


def parse(lines: list[str], request: ProbeRequest) -> dict[str, FileState]:
    """Return the paths that exist."""
    stats: dict[str, FileState] = {}
    contents: dict[str, bytes] = {}
    hashes: dict[str, str] = {}
    paths, secret = request.contents(), request.hashed()
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "stat":
            mode, owner, group, kind, path = rest.split("|", 4)
            stats[path] = FileState(KINDS.get(kind, "other"), int(mode, 8), owner, group)
        elif tag == "sha256":
            digest, _, path = rest.partition(" ")
            hashes[path] = digest
        elif tag == "hashed":
            index, _, digest = rest.partition(" ")
            hashes[secret[int(index)]] = digest
        elif tag == "content":
            index, _, encoded = rest.partition(" ")
            contents[paths[int(index)]] = base64.b64decode(encoded)
    return {
        path: replace(there, content=contents.get(path), sha256=hashes.get(path))
        for path, there in stats.items()
    }
