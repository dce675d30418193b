"""The one script for Windows, and what it printed as a HostState.

It prints one line: JSON, in base64, since the code page of a console would lose what is not ASCII.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import files, firewall, machine, models, release, task

SECTIONS = (machine, files, release, task, firewall, models)
DEPTH = 6


def script(request: ProbeRequest) -> str:
    """Return the PowerShell script; what it cannot find it leaves out."""
    parts = [section.script(request) for section in SECTIONS]
    return "\n".join(
        [
            "$r = @{}",
            *parts,
            f"$json = ConvertTo-Json -InputObject $r -Compress -Depth {DEPTH}",
            "[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json))",
        ]
    )


def parse(lines: Sequence[str], request: ProbeRequest) -> HostState:
    """Return the state.

    Args:
        lines: what the script printed.
        request: that it was made for.

    Raises:
        ValueError, KeyError, TypeError: the line is not what the script prints.
    """
    try:
        found: dict[str, Any] = json.loads(base64.b64decode("".join(lines).strip(), validate=True))
    except binascii.Error as error:
        raise ValueError(f"no answer in base64: {error}") from error
    devices, device_error = machine.devices(found)
    running, instances, windows = task.parse(found)
    return HostState(
        platform=machine.parse(found["machine"]),
        files=files.parse(found["files"]),
        release=task.with_foreign(release.parse(found["release"]), windows),
        service=running,
        instances=instances,
        firewall=firewall.parse(found["firewall"]),
        store=models.parse(found["models"]),
        devices=devices,
        device_error=device_error,
        disks=machine.disks(found["machine"], request.layout),
        windows=windows,
    )
