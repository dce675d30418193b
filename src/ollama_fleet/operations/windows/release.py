"""Installing a release on Windows: fetched, checked, unpacked beside, switched; the version before stays."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal

from pyinfra.api.command import FileUploadCommand, FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed, step
from ollama_fleet.operations.download import archive_path, fetch_for
from ollama_fleet.operations.windows.script import (
    checked,
    make_directory,
    powershell,
    remove,
    stop_server,
    write_text,
)
from ollama_fleet.planner.items.release import Archive
from ollama_fleet.planner.items.windows.release import WindowsRelease
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.probe.windows.release import CURRENT, PREVIOUS, STAMP, evidence

Download = Literal["host", "controller"]
CURL = (
    "-fsSL", "--retry", "3", "--connect-timeout", "20", "--speed-limit", "1", "--speed-time", "60",
)  # fmt: skip
"""A dead line is given up after a minute."""


@operation()
def release(
    version: str,
    archives: Sequence[Archive],
    download: Download = "host",
    models_dir: str | None = None,
) -> Generator[StringCommand | FileUploadCommand | FunctionCommand, None, None]:
    """Install a version in a directory of its own and make it the one in use; the one before stays.

    Nothing is unpacked before its sha256 is right. Windows has curl.exe and tar.exe, which reads zip, by itself.

    Args:
        version: such as `0.24.0`.
        archives: the zip files of the release, each with its sha256.
        download: who fetches: the host itself, or the controller, which then sends it.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    state, layout = look("windows", models_dir)
    wanted = WindowsRelease(version, tuple(archives), layout)
    if not wanted.differences(state):
        host.noop(f"release {version} is installed and in use")
        return
    yield from stage._inner(version, archives, download, models_dir)
    yield from use._inner(version, archives, models_dir)


@operation()
def stage(
    version: str,
    archives: Sequence[Archive],
    download: Download = "host",
    models_dir: str | None = None,
) -> Generator[StringCommand | FileUploadCommand | FunctionCommand, None, None]:
    """Have a version unpacked beside the one in use, which is not touched. Arguments as for `release`."""
    state, layout = look("windows", models_dir)
    wanted = WindowsRelease(version, tuple(archives), layout)
    if wanted.adopted(state) or wanted.is_unpacked(state):
        host.noop(f"release {version} is unpacked")
        return
    mark_changed(host)
    downloads = layout.below(layout.releases, ".download")
    yield powershell(make_directory(downloads))
    for archive in wanted.archives:
        place = f"{downloads}\\{archive.sha256[:16]}-{archive.name}"
        if download == "host" and archive.location.startswith(("http://", "https://")):
            yield powershell(_fetch(archive, place))
        else:
            yield from _send(archive, place)
    yield powershell(_unpack(wanted, downloads))


@operation()
def use(
    version: str, archives: Sequence[Archive], models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Make a version that `stage` has unpacked the one in use; the one before is remembered.

    A server that runs from files that are replaced is stopped; else the service is left as it is.

    Args:
        version: such as `0.24.0`.
        archives: the zip files of the release, each with its sha256.
        models_dir: where models lie, if not below ProgramData (only read, to share one probe).
    """
    state, layout = look("windows", models_dir)
    wanted = WindowsRelease(version, tuple(archives), layout)
    if not wanted.differences(state):
        host.noop(f"release {version} is in use")
        return
    mark_changed(host)
    moved = [] if wanted.is_unpacked(state) else [_into_place(wanted)]
    yield powershell(*moved, *_switch(wanted, state))


def _fetch(archive: Archive, place: str) -> str:
    """Fetch on the host, going on where an earlier try broke off."""
    options = " ".join(literal(word) for word in CURL)
    part, url = literal(f"{place}.part"), literal(archive.location)
    return f"""
$have = ''
if ([IO.File]::Exists({literal(place)})) {{
  $have = (Get-FileHash -LiteralPath {literal(place)} -Algorithm SHA256).Hash
}}
if ($have -ne {literal(archive.sha256)}) {{
  & curl.exe {options} '-C' '-' '-o' {part} {url} | Out-Null
  if ($LASTEXITCODE -ne 0) {{
    {remove(f"{place}.part")}
    & curl.exe {options} '-o' {part} {url} | Out-Null
    if ($LASTEXITCODE -ne 0) {{
      {remove(f"{place}.part")}
      throw ({literal(f"could not fetch {archive.location}: curl.exe ended with ")} + $LASTEXITCODE)
    }}
  }}
  $have = (Get-FileHash -LiteralPath {part} -Algorithm SHA256).Hash.ToLower()
  if ($have -ne {literal(archive.sha256)}) {{
    {remove(f"{place}.part")}
    throw ({literal(f"{archive.location} does not have the locked sha256 {archive.sha256}; it has ")} + $have +
      '. Nothing was installed. Was the release changed?')
  }}
  Move-Item -LiteralPath {part} -Destination {literal(place)} -Force
}}"""


def _send(archive: Archive, place: str) -> Generator[FunctionCommand | FileUploadCommand, None, None]:
    """Fetch here once for all hosts, and send it."""

    def get(at: Host) -> None:
        fetch_for(at, archive)

    yield step(get, "release", f"fetching {archive.name} for all hosts")
    yield FileUploadCommand(str(archive_path(archive)), place)


def _unpack(wanted: WindowsRelease, downloads: str) -> str:
    directory = f"{wanted.layout.releases}\\{wanted.version}"
    new = f"{directory}.new"
    lines = [remove(new), make_directory(new)]
    for archive in wanted.archives:
        place = literal(f"{downloads}\\{archive.sha256[:16]}-{archive.name}")
        lines += [
            f"if ((Get-FileHash -LiteralPath {place} -Algorithm SHA256).Hash -ne {literal(archive.sha256)}) {{",
            f"  Remove-Item -LiteralPath {place} -Force",
            f"  throw {literal(f'{archive.name} does not have the locked sha256')}",
            "}",
            f"& tar.exe '-xf' {place} '-C' {literal(new)}",
            checked("tar.exe"),
        ]
    return "\n".join(
        [
            *lines,
            f"$directory = {literal(new)}",
            "if (-not [IO.File]::Exists($directory + '\\ollama.exe')) { throw 'the archives hold no ollama.exe' }",
            evidence(),
            f"$stamp = {literal(wanted.stamp(''))} + $evidence",
            f"[IO.File]::WriteAllBytes($directory + '\\{STAMP}', [Text.Encoding]::UTF8.GetBytes($stamp))",
            remove(downloads),
        ]
    )


def _into_place(wanted: WindowsRelease) -> str:
    """Give the unpacked directory its name; what bore it goes."""
    directory = f"{wanted.layout.releases}\\{wanted.version}"
    new, old = f"{directory}.new", f"{directory}.old"
    return "\n".join(
        [
            remove(old),
            f"if (Test-Path -LiteralPath {literal(directory)}) {{",
            # Windows keeps the files of what runs.
            stop_server(),
            f"  Move-Item -LiteralPath {literal(directory)} -Destination {literal(old)}",
            "}",
            f"Move-Item -LiteralPath {literal(new)} -Destination {literal(directory)}",
            remove(old),
        ]
    )


def _switch(wanted: WindowsRelease, state: HostState) -> list[str]:
    releases, current = wanted.layout.releases, state.release.current
    lines = []
    if current is not None and current != wanted.version and current in state.release.versions:
        lines.append(write_text(f"{releases}\\{PREVIOUS}", current))
    if current != wanted.version:
        lines.append(write_text(f"{releases}\\{CURRENT}", wanted.version))
    return lines
