"""The machine, the connection's account, the system's variables, GPUs, and the room on the drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ollama_fleet.hardware import nvidia_smi
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.errors import HardwareError
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import DiskState, Platform
from ollama_fleet.planner.windows.quoting import array, literal
from ollama_fleet.probe.request import ProbeRequest

TOOLS = ("curl.exe", "tar.exe", "nvidia-smi.exe")
KIB = 1024


def script(request: ProbeRequest) -> str:
    """Set `machine`, `variables` and `smi`."""
    queries = " ".join(
        f"& nvidia-smi.exe {' '.join(literal(word) for word in query[1:])};"
        for query in (nvidia_smi.QUERY, nvidia_smi.QUERY_OLD_DRIVER)
    )
    first, second = queries.split(";", 1)
    return f"""
$os = Get-CimInstance -ClassName Win32_OperatingSystem
$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$principal = New-Object -TypeName Security.Principal.WindowsPrincipal -ArgumentList $identity
$r.machine = @{{
  architecture = $env:PROCESSOR_ARCHITECTURE
  caption = [string]$os.Caption
  user = [string]$identity.Name
  admin = $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
  home = $env:USERPROFILE
  memory = @([int64]$os.TotalVisibleMemorySize, [int64]$os.FreePhysicalMemory)
  free = @{{}}
  tools = @(foreach ($tool in {array(TOOLS)}) {{ if (Get-Command $tool -ErrorAction SilentlyContinue) {{ $tool }} }})
}}
foreach ($drive in {array(_drives(request.layout))}) {{
  $disk = Get-CimInstance -ClassName Win32_LogicalDisk -Filter ('DeviceID = ''' + $drive + '''')
  if ($disk) {{ $r.machine.free[$drive] = $disk.FreeSpace }}
}}
$r.variables = @{{}}
foreach ($name in @([Environment]::GetEnvironmentVariables('Machine').Keys)) {{
  if ($name -like 'OLLAMA_*') {{ $r.variables[$name] = [Environment]::GetEnvironmentVariable($name, 'Machine') }}
}}
$r.smi = $null
if ($r.machine.tools -contains 'nvidia-smi.exe') {{
  $said = @({first})
  if ($LASTEXITCODE -ne 0) {{ $said += @({second.rstrip("; ")}) }}
  $r.smi = @($said | ForEach-Object {{ [string]$_ }})
}}"""


def parse(found: Mapping[str, Any]) -> Platform:
    """Read `machine`; an administrator counts as root."""
    return Platform(
        architecture=str(found["architecture"]).lower(),
        distribution=str(found["caption"]),
        user=str(found["user"]),
        group="",
        uid=0 if found["admin"] else 1000,
        home=str(found["home"]),
        tools=frozenset(found["tools"]),
        systemd=False,
        user_manager=False,
        lingering=False,
        polkit=False,
    )


def _drives(layout: Layout) -> list[str]:
    return list(dict.fromkeys(place[:2].upper() for place in (layout.releases, layout.models)))


def disks(found: Mapping[str, Any], layout: Layout) -> dict[str, DiskState]:
    """Read `free`: the drives of releases and models; of one that is not there nothing is said."""
    free = found["free"]
    return {
        place: DiskState(place[:2].upper(), int(free[place[:2].upper()]))
        for place in (layout.releases, layout.models)
        if free.get(place[:2].upper()) is not None
    }


def devices(found: Mapping[str, Any]) -> tuple[tuple[Device, ...], str | None]:
    """Read `smi`: the devices, or none and the reason. Only NVIDIA's tool is there on Windows."""
    said = found["smi"]
    if said is None:
        return (), None
    total, free = (int(kib) * KIB for kib in found["machine"]["memory"])
    try:
        if not said:
            raise HardwareError("nvidia-smi gives no answer; the driver hangs: reboot")
        return tuple(nvidia_smi.parse("\n".join(said), HostMemory(total, free))), None
    except HardwareError as error:
        return (), str(error)
