"""Installing a release: checked, unpacked beside, then switched to by a link."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import PurePosixPath
from shlex import quote
from typing import Literal

from pyinfra.api.command import FileUploadCommand, FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import StepFailed, look, mark_changed, step
from ollama_fleet.operations.download import archive_path, fetch_for
from ollama_fleet.operations.observer import observer_of
from ollama_fleet.operations.packages import install_command
from ollama_fleet.operations.shell import restart_is_due, script, switch_link
from ollama_fleet.operations.trial import trial
from ollama_fleet.operations.watched_fetch import WatchedFetch
from ollama_fleet.planner.items.release import Archive, WantedRelease
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.sections.release import STAMP, evidence

Download = Literal["host", "controller"]

FETCHERS = ("curl", "wget")


@operation()
def release(
    version: str,
    archives: Sequence[Archive],
    download: Download = "host",
    scope: Scope = "system",
    models_dir: str | None = None,
) -> Generator[StringCommand | FileUploadCommand | FunctionCommand, None, None]:
    """Install a version in a directory of its own and make it the one in use; the one before stays.

    Nothing is unpacked before its sha256 is right, and the link is switched only to a complete directory.

    Args:
        version: such as `0.24.0`.
        archives: the files of the release, each with its sha256.
        download: who fetches: the host itself, or the controller, which then sends it.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look(scope, models_dir)
    wanted = WantedRelease(version, tuple(archives), layout)
    if not wanted.differences(state):
        host.noop(f"release {version} is installed and in use")
        return
    yield from stage._inner(version, archives, download, scope=scope, models_dir=models_dir)
    yield from use._inner(version, archives, scope, models_dir)


@operation()
def stage(
    version: str,
    archives: Sequence[Archive],
    download: Download = "host",
    environment: Mapping[str, str] | None = None,
    scope: Scope = "system",
    models_dir: str | None = None,
) -> Generator[StringCommand | FileUploadCommand | FunctionCommand, None, None]:
    """Have a version unpacked beside the one in use, and try it for a moment where another is serving.

    Args:
        version: such as `0.24.0`.
        archives: the files of the release, each with its sha256.
        download: who fetches: the host itself, or the controller, which then sends it.
        environment: variables that the server is to get, but for its address and its models.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look(scope, models_dir)
    wanted = WantedRelease(version, tuple(archives), layout)
    complete = wanted.adopted(state) or wanted.is_unpacked(state)
    to_try = any(one.active == "active" for one in state.servers) and not wanted.adopted(state)
    to_try = to_try and version != state.release.current
    if complete and not to_try:
        host.noop(f"release {version} is unpacked")
        return
    mark_changed(host)
    if not complete:
        downloads = f"{layout.releases}/.download"
        yield script(f"mkdir -p {quote(downloads)}")
        yield from _bring_zstd(wanted, state)
        for archive in wanted.archives:
            place = f"{downloads}/{archive.sha256[:16]}-{archive.name}"
            if download == "host" and _is_url(archive.location) and state.platform.tools & set(FETCHERS):
                yield WatchedFetch(script(_fetch(archive, place, state)), archive, f"{place}.part")
            else:
                yield from _send(archive, place)
        _say(f"unpacking release {version}")
        yield script(*_unpack(wanted, state, downloads))
    if to_try:
        _say(f"trying release {version}")
        user = layout.service_user if scope == "system" else None
        yield script(trial(f"{layout.releases}/{version}", version, environment or {}, user))


@operation()
def use(
    version: str, archives: Sequence[Archive], scope: Scope = "system", models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Make an unpacked version the one in use; the one before is remembered. The service is left as it is.

    Args:
        version: such as `0.24.0`.
        archives: the files of the release, each with its sha256.
        scope: for the whole system, or inside the account's home.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look(scope, models_dir)
    wanted = WantedRelease(version, tuple(archives), layout)
    if not wanted.differences(state):
        host.noop(f"release {version} is in use")
        return
    mark_changed(host)
    yield script(*_switch(wanted, state))


def _say(doing: str) -> None:
    """Tell those who watch what the next command is going to do."""
    if host.state.is_executing:
        observer_of(host).begin(host, doing)


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _bring_zstd(
    wanted: WantedRelease, state: HostState
) -> Generator[StringCommand | FunctionCommand, None, None]:
    tools = state.platform.tools
    if "zstd" in tools or not any(archive.name.endswith(".zst") for archive in wanted.archives):
        return
    command = install_command("zstd", tools)
    if command is None or state.platform.uid != 0:
        yield step(_no_zstd, "release")
    else:
        yield StringCommand(command)


def _no_zstd(_: object) -> None:
    raise StepFailed(
        "zstd is missing on the host and cannot be installed from here; install the package zstd"
    )


def _fetch(archive: Archive, place: str, state: HostState) -> str:
    """Fetch on the host, going on where an earlier try broke off. A dead line is given up after a minute."""
    url, target = quote(archive.location), quote(place)
    if "curl" in state.platform.tools:
        get = f"curl -fsSL --retry 3 --connect-timeout 20 --speed-limit 1 --speed-time 60 -C - -o {target}.part {url}"
    else:
        get = f"wget -q --tries=3 --timeout=60 -c -O {target}.part {url}"
    return f"""
matches() {{ echo "{archive.sha256}  $1" | sha256sum -c --status 2>/dev/null; }}
if ! matches {target}; then
  {get} 2>/dev/null || {{ rm -f {target}.part
    said=$({get.replace(" -C -", "").replace(" -c ", " ")} 2>&1); }} || {{
    rm -f {target}.part
    echo {quote(f"could not fetch {archive.location}:")} "$(echo "$said" | tail -n 1)" >&2; exit 1; }}
  matches {target}.part || {{
    echo {quote(f"{archive.location} does not have the locked sha256 {archive.sha256}; it has")} \\
      "$(sha256sum {target}.part | cut -c1-64). Nothing was installed. Was the release changed?" >&2
    rm -f {target}.part; exit 1; }}
  mv -fT {target}.part {target}
fi"""


def _send(archive: Archive, place: str) -> Generator[FunctionCommand | FileUploadCommand, None, None]:
    """Fetch here once for all hosts, and send it."""

    def get(at: Host) -> None:
        fetch_for(at, archive)

    yield step(get, "release", f"fetching {archive.name} for all hosts")
    yield FileUploadCommand(str(archive_path(archive)), place)


def _unpack(wanted: WantedRelease, state: HostState, downloads: str) -> list[str]:
    directory = f"{wanted.layout.releases}/{wanted.version}"
    new, old = quote(f"{directory}.new"), quote(f"{directory}.old")
    lines = [f"rm -rf {new} {old}", f"mkdir -p {new}"]
    for archive in wanted.archives:
        place = quote(f"{downloads}/{archive.sha256[:16]}-{archive.name}")
        how = "zstd -dc" if archive.name.endswith(".zst") else "gzip -dc"
        lines += [
            f'echo "{archive.sha256}  "{place} | sha256sum -c --status || '
            f"{{ echo {quote(f'{archive.name} does not have the locked sha256')} >&2; rm -f {place}; exit 1; }}",
            f"{how} {place} | tar -xf - --no-same-owner -C {new}",
        ]
    return [
        *lines,
        f"[ -x {new}/bin/ollama ] || {{ echo 'the archives hold no bin/ollama' >&2; rm -rf {new}; exit 1; }}",
        f'echo "{wanted.stamp("")}$({evidence(new)})" >{new}/{STAMP}',
        *([restart_is_due(wanted.layout)] if wanted.version == state.release.current else []),
        f"[ ! -e {quote(directory)} ] || mv -T {quote(directory)} {old}",
        f"mv -T {new} {quote(directory)}",
        f"rm -rf {old} {quote(downloads)}",
    ]


def _switch(wanted: WantedRelease, state: HostState) -> list[str]:
    layout: Layout = wanted.layout
    lines = [restart_is_due(layout)]
    current = state.release.current
    if current is not None and current != wanted.version and current in state.release.versions:
        lines.append(switch_link(f"{layout.releases}/previous", current))
    if current != wanted.version:
        lines.append(switch_link(layout.current, wanted.version))
    lines.append(f"mkdir -p {quote(str(PurePosixPath(layout.command).parent))}")
    if state.release.foreign is not None:
        # Somebody else's, with its libraries beside it: kept, and put back when the host is retired.
        command, backup = quote(layout.command), quote(layout.command_backup)
        ours = f'[ "$(readlink {command})" = {quote(layout.binary)} ]'
        lines.append(f"{ours} || [ ! -e {command} ] || mv -fT {command} {backup}")
    lines.append(switch_link(layout.command, layout.binary))
    return lines
