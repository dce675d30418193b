"""Installed releases, the one in use, and an `ollama` that somebody else installed."""

from __future__ import annotations

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import ForeignBinary, InstalledVersion, ReleaseState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word

STAMP = ".installed"
"""In a version's directory: the archives' hashes and the evidence taken right after unpacking."""


def evidence(directory: str) -> str:
    """A command that prints what identifies an unpacked release.

    The binary by hash; everything else by size and time, since libraries are gigabytes.
    """
    return (
        f"cd {directory} && {{ sha256sum bin/ollama 2>/dev/null | cut -c1-64 | tr '\\n' : ; "
        f"find . -type f ! -name {STAMP} -printf '%P %s %T@\\n' | LC_ALL=C sort | sha256sum | cut -c1-64; }}"
    )


def script(request: ProbeRequest) -> str:
    """Print links, a stamp per version, and the evidence of the version in use."""
    layout = request.layout
    return f"""
cd {word(layout.releases)} 2>/dev/null && {{
  echo "current $(readlink current)"
  echo "previous $(readlink previous)"
  for version in */; do
    version=${{version%/}}
    [ -L "$version" ] || [ ! -d "$version/bin" ] || {{
      echo "version $version $(cat "$version/{STAMP}" 2>/dev/null)"
      echo "size $version $(du -sk "$version" 2>/dev/null | cut -f1)"
    }}
  done
  find .download -maxdepth 1 -type f -printf 'download %f %s\\n' 2>/dev/null
  cd /
}}
[ -d {word(layout.current)}/bin ] && echo "evidence $({evidence(word(layout.current) + "/.")})"
echo "command $(readlink {word(layout.command)})"
if [ -f {word(layout.command)} ] && [ "$(readlink {word(layout.command)})" != {word(layout.binary)} ]; then
  echo "foreign $(timeout 10 {word(layout.command)} --version 2>&1 | tr '\\n' ' ')"
fi
"""


def parse(lines: list[str], layout: Layout) -> ReleaseState:
    """Read the lines; `layout` has its home filled in."""
    facts: dict[str, str] = {}
    stamps: dict[str, str] = {}
    downloads: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        if tag == "size":
            name, _, kilobytes = rest.rpartition(" ")
            sizes[name] = int(kilobytes or 0) << 10
        elif tag == "version":
            name, _, stamp = rest.partition(" ")
            stamps[name] = stamp
        elif tag == "download":
            name, size = rest.rsplit(" ", 1)
            downloads[name.removesuffix(".part")] = int(size)
        else:
            facts[tag] = rest
    foreign = facts.get("foreign")
    current = facts.get("current") or None
    return ReleaseState(
        current=current,
        previous=facts.get("previous") or None,
        command_target=facts.get("command") or None,
        versions={
            name: InstalledVersion(
                stamp, facts.get("evidence") if name == current else None, sizes.get(name, 0)
            )
            for name, stamp in stamps.items()
        },
        foreign=None if foreign is None else ForeignBinary(layout.command, version_in(foreign)),
        downloads=downloads,
    )


def version_in(text: str) -> str | None:
    """Find the version in what `ollama --version` prints, with or without a running server.

    The client's own version is wanted: it is named by a warning where the server's differs or is away.
    """
    for marker in ("client version is ", "version is "):
        if marker in text:
            return text.split(marker, 1)[1].split(maxsplit=1)[0] or None
    return None
