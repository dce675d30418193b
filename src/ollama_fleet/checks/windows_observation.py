"""The same look at a Windows host: the file that the server's log goes to, the devices, the host's clock."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ollama_fleet.checks.engine_log import KEPT
from ollama_fleet.hardware.device import Device
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.windows.quoting import literal
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import machine

MOST_BYTES = 4 << 20
"""What is read at most of the end of the log."""


class Seen(NamedTuple):
    """What an Observation is made of."""

    log: tuple[str, ...] | None
    mark: str
    now: int
    devices: tuple[Device, ...]
    device_error: str | None


def script(layout: Layout, since: str | None) -> str:
    """Print one line of base64: the log from byte `since` on, its length, the clock, and what nvidia-smi says.

    The server has the file open for writing, so it is opened beside it.
    """
    log = literal(layout.server_log)
    return f"""
$r = @{{}}
{machine.script(ProbeRequest(layout))}
$r.now = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
$r.log = $null
$r.mark = 0
if ([IO.File]::Exists({log})) {{
  $stream = [IO.File]::Open({log}, 'Open', 'Read', 'ReadWrite')
  $r.mark = $stream.Length
  $start = [int64]{since or 0}
  if ($start -gt $r.mark) {{ $start = 0 }}
  if ($r.mark - $start -gt {MOST_BYTES}) {{ $start = $r.mark - {MOST_BYTES} }}
  $skipped = $stream.Seek($start, 'Begin')
  $reader = New-Object -TypeName IO.StreamReader -ArgumentList $stream
  $r.log = $reader.ReadToEnd()
  $reader.Close()
}}
$json = ConvertTo-Json -InputObject $r -Compress -Depth 4
[Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json))"""


def parse(lines: Sequence[str]) -> Seen:
    """Read the line; of the log only what matters is kept."""
    found: dict[str, Any] = json.loads(base64.b64decode("".join(lines).strip(), validate=True))
    devices, error = machine.devices(found)
    log = found["log"]
    kept = None if log is None else tuple(line for line in str(log).splitlines() if re.search(KEPT, line))
    return Seen(kept, str(found["mark"]), int(found["now"]), devices, error)
