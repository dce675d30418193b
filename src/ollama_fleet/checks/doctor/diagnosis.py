"""What the answers of a host mean for an apply, each with its remedy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ollama_fleet.artifacts.releases import ReleaseError
from ollama_fleet.checks.doctor.script import Answers, Reached
from ollama_fleet.checks.doctor.vulnerabilities import vulnerabilities_of
from ollama_fleet.checks.exposure import Exposure, exposures
from ollama_fleet.planner.items.firewall import ANYWHERE
from ollama_fleet.spec.hosts import HostSpec

Status = Literal["ok", "warning", "problem", "unknown"]

CLOCK_LIMIT = 120
"""Seconds; certificates and tokens of some registries are not accepted beyond some minutes."""
SPARE = 1 << 30
"""Bytes that are to be left on a disk."""
UNPACKED = 3
"""A release takes about so many times its archive: packed, unpacked, and moved into place."""
GIB = 1 << 30
TOLD = 2
"""Vulnerabilities that are named of a release that has many."""

_CURL = {
    5: ("proxy", "the name of the proxy has no address there", "correct HTTPS_PROXY in fleet.yaml"),
    6: ("dns", "the name has no address there", "give the host a name server (/etc/resolv.conf)"),
    7: ("network", "the connection is refused or has no route", "let the host out, or set HTTPS_PROXY"),
    28: ("network", "no answer within some seconds", "let the host out, or set HTTPS_PROXY"),
    35: ("network", "the TLS connection breaks off", "look at the proxy or firewall in between"),
    60: (
        "network",
        "its certificate is not trusted there",
        "install ca-certificates or your own CA on the host",
    ),
}
"""curl's exit codes: what they stand for, and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where nothing is to be done."""

    check: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What an apply would fetch to a host, bytes."""

    models: int
    releases: int


def diagnose(
    spec: HostSpec,
    answers: Answers,
    need: Need | None,
    plan_error: str | None,
    exposed_here: Sequence[Exposure] = (),
) -> list[Finding]:
    """Everything that was looked at on a host, in the order in which an apply would meet it.

    Args:
        spec: what was asked of the host.
        answers: what it said.
        need: what is to be fetched; None where no plan could be made.
        plan_error: why not, or None.
        exposed_here: what of the fleet is open on the machine that deploys.
    """
    return [
        _rights(spec, answers),
        *_system(spec, answers),
        _clock(spec, answers),
        *_driver(answers),
        *_disk(answers, need),
        _port(spec, answers),
        *_network(spec, answers),
        *_version(spec, answers),
        *(Finding("exposure", "warning", one.text, one.remedy)
          for one in (*_exposed(spec, answers), *exposed_here)),
        *([Finding("plan", "problem", plan_error, "mend fleet.yaml or the host; `plan --explain` says more")]
          if plan_error else [Finding("plan", "ok", "the host can be planned")] if need else []),
    ]  # fmt: skip


def _rights(spec: HostSpec, answers: Answers) -> Finding:
    if spec.os == "windows":
        return _rights_on_windows(answers)
    if answers.uid == 0:
        return Finding("rights", "ok", "root")
    if spec.scope == "user":
        return Finding("rights", "ok", f"{answers.user}, in its own home")
    if answers.sudo == "":
        return Finding("rights", "ok", f"{answers.user}, by sudo")
    if answers.sudo is None:
        remedy = "set sudo: true, another ssh.user, or scope: user"
        return Finding("rights", "problem", f"{answers.user} is not root", remedy)
    line = f"{answers.user} ALL=(ALL) NOPASSWD: ALL"
    remedy = f"let it use sudo without a password, by `visudo`: {line}"
    return Finding("rights", "problem", f"sudo refuses {answers.user}: {answers.sudo}", remedy)


def _rights_on_windows(answers: Answers) -> Finding:
    if answers.uid == 0:
        return Finding("rights", "ok", f"{answers.user}, an administrator")
    remedy = (
        "let an account of the group Administrators in: its key belongs into "
        "C:\\ProgramData\\ssh\\administrators_authorized_keys"
    )
    return Finding("rights", "problem", f"{answers.user} is no administrator", remedy)


def _system(spec: HostSpec, answers: Answers) -> Iterator[Finding]:
    if answers.state is None:
        yield Finding("system", "unknown", "not read, for lack of rights")
        return
    there = answers.state.platform
    if spec.os == "windows":
        yield Finding("system", "ok", f"{there.distribution}, {there.architecture}")
        for tool in ("curl.exe", "tar.exe"):
            if tool not in there.tools:
                remedy = "update Windows: it is a part of Windows 10 from 1803 on, and of Server 2019"
                yield Finding("tools", "problem", f"{tool} is missing", remedy)
        return
    if spec.scope == "system" and not there.systemd:
        yield Finding(
            "system", "problem", "systemd does not run there", "set scope: user, which does without"
        )
    else:
        yield Finding("system", "ok", f"{there.distribution or 'unknown'}, {there.architecture}")
    managers = {"apt-get", "dnf", "zypper", "pacman", "apk"}
    if "zstd" not in there.tools and not (managers & there.tools and there.uid == 0):
        yield Finding(
            "tools", "problem", "zstd is missing and cannot be installed", "install zstd on the host"
        )
    if "curl" not in there.tools and "wget" not in there.tools and spec.release.download == "host":
        remedy = "install curl, or set release.download: controller"
        yield Finding("tools", "problem", "neither curl nor wget is there to fetch the release", remedy)


def _clock(spec: HostSpec, answers: Answers) -> Finding:
    off = answers.clock_ahead
    if abs(off) <= CLOCK_LIMIT:
        return Finding("clock", "ok", "agrees with this machine's")
    way = "ahead of" if off > 0 else "behind"
    command = "w32tm /resync" if spec.os == "windows" else "timedatectl set-ntp true"
    remedy = f"switch time synchronisation on: `{command}`"
    return Finding(
        "clock", "problem", f"{_span(abs(off))} {way} this machine's: certificates will fail", remedy
    )


def _span(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def _driver(answers: Answers) -> Iterator[Finding]:
    state = answers.state
    if state is None:
        return
    if state.device_error:
        remedy = "install the driver anew for the running kernel, or reboot; then `nvidia-smi` must answer"
        yield Finding("driver", "problem", state.device_error, remedy)
    elif state.devices:
        names = ", ".join(device.kind or device.name for device in state.devices)
        driver = state.devices[0].driver
        yield Finding("driver", "ok", names + (f", driver {driver}" if driver else ""))
    else:
        yield Finding("driver", "ok", "no GPU is seen; models run on the CPU")


def _disk(answers: Answers, need: Need | None) -> Iterator[Finding]:
    if need is None:
        return
    wanted: dict[str, int] = {}
    for what, size in (("models", need.models), ("releases", UNPACKED * need.releases)):
        if what in answers.free:
            mount = answers.free[what][0]
            wanted[mount] = wanted.get(mount, 0) + size
    free = dict(answers.free.values())
    for mount, size in wanted.items():
        told = f"{mount}: {free[mount] / GIB:.1f} GiB free, {size / GIB:.1f} GiB to be fetched"
        if size and free[mount] < size + SPARE:
            remedy = "make room, or put models_dir on another disk"
            yield Finding("disk", "problem", f"{told}, and 1 GiB to be left", remedy)
        else:
            yield Finding("disk", "ok", told)


def _port(spec: HostSpec, answers: Answers) -> Finding:
    port = spec.listen.port
    if answers.listeners is None:
        return Finding("port", "unknown", f"whether {port} is free cannot be told: there is no `ss`")
    state = answers.state
    servers = () if state is None else state.servers
    ours = {server.pid for server in servers if server.pid}
    others = [one for one in answers.listeners if one.pid not in ours]
    if not others:
        return Finding("port", "ok", f"{port} is {'our own' if answers.listeners else 'free'}")
    names = ", ".join(
        sorted({f"{one.program} (process {one.pid})" if one.pid else one.program for one in others})
    )
    if answers.uid != 0 and answers.sudo != "" and spec.scope == "system":
        return Finding("port", "unknown", f"{port} is taken, and without rights nobody tells by whom")
    return Finding(
        "port", "problem", f"{port} is taken by {names}", "stop that, or write another port in listen"
    )


def _network(spec: HostSpec, answers: Answers) -> Iterator[Finding]:
    for name in answers.unresolved:
        remedy = "give the host a name server (/etc/resolv.conf), or the name in /etc/hosts"
        if spec.os == "windows":
            remedy = "give the host a name server (in its network settings), or the name in its hosts file"
        yield Finding("dns", "problem", f"{name} has no address there", remedy)
    if answers.reached is None:
        yield Finding("network", "unknown", "nothing was tried: there is no curl on the host")
        return
    good = [one.url for one in answers.reached if one.code == 0 and one.status < 500]
    if good:
        yield Finding("network", "ok", f"reaches {', '.join(good)}")
    for one in answers.reached:
        if one.url not in good and not any(name in one.url for name in answers.unresolved):
            yield _unreached(one)


def _unreached(one: Reached) -> Finding:
    if one.code == 0:
        return Finding(
            "network", "problem", f"{one.url} answers {one.status}", "look at that server, or its proxy"
        )
    check, words, remedy = _CURL.get(
        one.code, ("network", one.said or f"curl ends with {one.code}", "try it there")
    )
    return Finding(check, "problem", f"{one.url}: {words}", remedy)


def _version(spec: HostSpec, answers: Answers) -> Iterator[Finding]:
    wanted = str(spec.release.version)
    if holes := vulnerabilities_of(wanted):
        names = ", ".join(one.cve for one in holes)
        yield Finding(
            "version",
            "warning",
            f"fleet.yaml asks for {wanted}: {names}",
            f"ask for {holes[-1].fixed} or newer",
        )
    there = _installed(answers)
    if there is None or there == wanted:
        return
    try:
        found = vulnerabilities_of(there)
    except ReleaseError:
        return
    if found:
        told = "; ".join(f"{one.cve}: {one.what} ({one.source})" for one in found[-TOLD:])
        yield Finding(
            "version", "warning", f"Ollama {there} is there: {told}", f"an apply replaces it by {wanted}"
        )


def _exposed(spec: HostSpec, answers: Answers) -> Iterator[Exposure]:
    """What of the host is open; holes of its release are told by `version`."""
    if answers.state is None:
        return
    found = exposures(
        answers.state,
        answers.layout,
        address=str(spec.listen.host),
        port=spec.listen.port,
        sources=tuple(map(str, spec.allow_from)) or (ANYWHERE if spec.expose else ()),
        environment=spec.env,
        release=str(spec.release.version),
    )
    yield from (one for one in found if one.check != "release")


def _installed(answers: Answers) -> str | None:
    if answers.state is None:
        return None
    release = answers.state.release
    return release.current or (release.foreign.version if release.foreign else None)
