"""The one script, and what it printed as a HostState."""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import replace

from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.sections import (
    accounts,
    devices,
    disk,
    door,
    files,
    firewall,
    models,
    others,
    platform,
    release,
    service,
)
from ollama_fleet.probe.windows import read as windows_read

MARKER = "@@ollama-fleet"
PREAMBLE = """
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
export XDG_RUNTIME_DIR
"""


class ProbeError(Exception):
    """The host answered, but not with what the script prints."""


def script(request: ProbeRequest) -> str:
    """Return the POSIX sh script; it succeeds whatever it finds."""
    sections = (platform, files, accounts, release, service, others, door, firewall, models, disk, devices)
    parts = [f"echo '{MARKER} {s.__name__.rsplit('.', 1)[1]}'\n{s.script(request)}" for s in sections]
    return "\n".join([PREAMBLE, *parts, f"echo '{MARKER} end'", "exit 0"])


def parse(lines: list[str], request: ProbeRequest) -> tuple[HostState, Layout]:
    """Return the state, and the layout with the home directory filled in. Raises ProbeError."""
    if request.layout.scope == "windows":
        try:
            return windows_read.parse(lines, request), request.layout
        except (KeyError, ValueError, TypeError) as error:
            raise ProbeError(
                f"the probe printed something unexpected ({type(error).__name__}: {error})"
            ) from error
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if line.startswith(MARKER):
            current = sections.setdefault(line.removeprefix(MARKER).strip(), [])
        else:
            current.append(line)
    if "end" not in sections:
        raise ProbeError("the probe was cut off before its end")
    try:
        return _state(sections, request)
    except (KeyError, ValueError, IndexError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ProbeError(
            f"the probe printed something unexpected ({type(error).__name__}: {error})"
        ) from error


def _state(sections: dict[str, list[str]], request: ProbeRequest) -> tuple[HostState, Layout]:
    there = platform.parse(sections["platform"])
    layout = request.layout.at(there.home, there.user, there.group)
    known = replace(request, layout=layout)
    users, groups = accounts.parse(sections["accounts"])
    releases = release.parse(sections["release"], layout)
    running, units = service.parse(sections["service"])
    servers, stores = others.parse(sections["others"])
    found_devices, device_error = devices.parse(sections["devices"])
    state = HostState(
        platform=there,
        files=files.parse(sections["files"], known),
        accounts=users,
        groups=groups,
        release=releases,
        service=replace(running, others=servers, other_models=stores),
        instances=service.parse_instances(sections["service"]),
        firewall=firewall.parse(sections["firewall"], units),
        store=models.parse(sections["models"]),
        devices=found_devices,
        device_error=device_error,
        disks=disk.parse(sections["disk"], layout),
        door=door.parse(sections["door"], units),
    )
    return state, layout
