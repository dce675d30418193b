"""The one command: what stands in the way of an apply, then the probe with the rights that an apply would have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.checks.doctor import windows
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe import read
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word, words

TRY_SECONDS = 8
"""For each address that is tried."""
TIMEOUT = 180
"""Seconds for the whole command."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask a host: is there room, is the port free, can it reach what it will fetch from."""

    layout: Layout
    port: int
    sudo: bool
    urls: tuple[str, ...] = ()
    """Addresses that an apply will fetch from, on the host."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    """Variables that the fetching goes by, where they are no secrets."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who listens on the port; `pid` is 0 where it is not told."""

    program: str
    pid: int


@dataclass(frozen=True, slots=True)
class Reached:
    """How an address was tried: curl's own exit code, the HTTP status, and what curl says. `code` 0 is an answer."""

    url: str
    code: int
    status: int
    said: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What the command printed. Sizes in bytes, `clock_ahead` in seconds; None where the host cannot tell."""

    user: str
    uid: int
    sudo: str | None
    """Why sudo does not work without a password; empty where it does, None where it was not needed."""
    clock_ahead: float
    listeners: tuple[Listener, ...] | None
    free: Mapping[str, tuple[str, int]]
    """`models` and `releases`: where they are mounted, and how much is free there."""
    unresolved: tuple[str, ...]
    """Names that have no address on the host."""
    reached: tuple[Reached, ...] | None
    state: HostState | None
    layout: Layout


def script(questions: Questions) -> str:
    """Return the POSIX sh script, or PowerShell of the same output; it succeeds whatever it finds."""
    if questions.layout.scope == "windows":
        names = _names(questions.urls)
        return windows.script(questions.layout, questions.port, questions.urls, names, questions.proxies)
    layout, probe = questions.layout, read.script(ProbeRequest(questions.layout))
    proxies = " ".join(f"{name}={word(value)}" for name, value in questions.proxies.items())
    return f"""{read.PREAMBLE}
echo "user $(id -un)"
echo "uid $(id -u)"
echo "time $(date +%s)"
root=
if [ "$(id -u)" != 0 ] && {"true" if questions.sudo else "false"}; then
  if said=$(sudo -n true 2>&1); then root='sudo -n'; echo sudo; else echo "sudo ${{said:-it fails}}" | head -n 1; fi
fi
if command -v ss >/dev/null 2>&1; then
  echo listens
  $root ss -Hltnp 'sport = :{questions.port}' 2>/dev/null | sed 's/^/listener /'
fi
room() {{
  place=$2
  while [ ! -e "$place" ] && [ "$place" != / ] && [ "$place" != . ]; do place=$(dirname "$place"); done
  df -Pk "$place" 2>/dev/null | sed 1d | while read -r _ _ _ free _ mount; do echo "room $1 $free $mount"; done
}}
room models {word(layout.models)}
room releases {word(layout.releases)}
{"".join(_tries(questions.urls, proxies))}
echo '{read.MARKER} begin'
$root sh -c {word(probe)}
exit 0
"""


def _names(urls: tuple[str, ...]) -> list[str]:
    hosts = dict.fromkeys(map(_host, urls))
    return [host for host in hosts if not host.replace(".", "").isdigit()]


def _tries(urls: tuple[str, ...], proxies: str) -> list[str]:
    names = _names(urls)
    lines = []
    if names and not proxies:  # behind a proxy the proxy asks for names
        lines.append(
            f"for name in {words(names)}; do\n"
            f'  timeout {TRY_SECONDS} getent ahosts "$name" >/dev/null || echo "unresolved $name"\ndone\n'
        )
    if urls:
        lines.append(
            "if command -v curl >/dev/null 2>&1; then\n"
            f"  for url in {words(urls)}; do\n"
            f"    said=$({proxies} curl -sSIL -o /dev/null -m {TRY_SECONDS} -w '%{{http_code}} ' \"$url\" 2>&1)\n"
            '    echo "reached $? $url $said" | tr "\\n" " "; echo\n'
            "  done\nelse echo 'no curl'; fi\n"
        )
    return lines


def _host(url: str) -> str:
    rest = url.partition("://")[2].partition("/")[0]
    return "" if rest.startswith("[") else rest.partition(":")[0]


def parse(lines: list[str], questions: Questions, sent: float | None = None) -> Answers:
    """Read what the script printed.

    Args:
        lines: its output.
        questions: what was asked.
        sent: the controller's clock, seconds since 1970, about when the host read its own.

    Raises:
        ProbeError: the host answered something else.
    """
    mark = f"{read.MARKER} begin"
    if mark not in lines:
        raise read.ProbeError("the command was cut off before its end")
    told, probed = lines[: lines.index(mark)], lines[lines.index(mark) + 1 :]
    facts = {key: value for key, _, value in (line.partition(" ") for line in told)}
    try:
        state, layout = read.parse(probed, ProbeRequest(questions.layout))
    except read.ProbeError:  # without rights much of it fails; that is what is told then
        state, layout = None, questions.layout
    now = time.time() if sent is None else sent
    reached = [_reached(line) for line in told if line.startswith("reached ")]
    free = {
        what: (mount.strip(), int(kib) * 1024)
        for what, kib, mount in (line.split(" ", 2) for line in _after(told, "room "))
    }
    if state is not None and state.windows is not None:
        places = {"models": layout.models, "releases": layout.releases}
        disks = {what: state.disks[place] for what, place in places.items() if place in state.disks}
        free = {what: (disk.number, disk.free) for what, disk in disks.items()}
    return Answers(
        user=facts["user"],
        uid=int(facts["uid"]),
        sudo=facts.get("sudo"),
        clock_ahead=int(facts["time"]) - now,
        listeners=tuple(map(_listener, _after(told, "listener "))) if "listens" in told else None,
        free=free,
        unresolved=tuple(_after(told, "unresolved ")),
        reached=None if "no curl" in told else tuple(reached),
        state=state,
        layout=layout,
    )


def _after(lines: list[str], tag: str) -> list[str]:
    return [line.removeprefix(tag) for line in lines if line.startswith(tag)]


def _listener(line: str) -> Listener:
    """`LISTEN 0 4096 *:11434 *:* users:(("ollama",pid=7,fd=3))`, without the last part where it is not told."""
    name, _, rest = line.partition('users:(("')[2].partition('"')
    number = rest.partition("pid=")[2].partition(",")[0]
    return Listener(name or "another program", int(number) if number.isdigit() else 0)


def _reached(line: str) -> Reached:
    _, code, url, said = [*line.split(" ", 3), ""][:4]
    before, _, status = said.strip().rpartition(" ")
    told = before.partition(") ")[2] or before  # `curl: (6) Could not …`
    return Reached(url, int(code), int(status) if status.isdigit() else 0, told)
