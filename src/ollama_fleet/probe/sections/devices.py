"""GPUs, as the driver's own tool reports them."""

from __future__ import annotations

from ollama_fleet.hardware import nvidia_smi, rocm_smi
from ollama_fleet.hardware.cpu import parse_meminfo
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.errors import HardwareError
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.shell import word, words


def script(request: ProbeRequest, *, usage: bool = False) -> str:
    """Run the driver's tool where it is installed; it may hang with a sick driver, so for 20 s at most.

    `usage` asks for the memory in use also where that takes a command more (amd-smi).
    """
    metric = (
        f"timeout 20 {words(rocm_smi.AMD_SMI_METRIC_QUERY)} 2>/dev/null | sed 's/^/usage /'" if usage else ""
    )
    return f"""
if command -v nvidia-smi >/dev/null 2>&1; then
  echo 'tool nvidia-smi'
  grep -E '^Mem(Total|Available):' /proc/meminfo | sed 's/^/memory /'
  timeout 20 sh -c {word(nvidia_smi.SHELL_QUERY)} 2>&1 | sed 's/^/smi /'
elif command -v amd-smi >/dev/null 2>&1; then
  timeout 20 {words(rocm_smi.AMD_SMI_STATIC_QUERY)} 2>/dev/null | sed 's/^/amd /'
  {metric}
elif command -v rocm-smi >/dev/null 2>&1; then
  timeout 20 {words(rocm_smi.ROCM_SMI_QUERY)} 2>/dev/null | sed 's/^/rocm /'
fi
"""


def parse(lines: list[str]) -> tuple[tuple[Device, ...], str | None]:
    """Return the devices, or none and the reason."""
    try:
        if "tool nvidia-smi" in lines:
            if not (smi := _tagged(lines, "smi ")):
                raise HardwareError("nvidia-smi gives no answer; the driver hangs: look at dmesg, or reboot")
            memory = parse_meminfo("\n".join(_tagged(lines, "memory ")))
            return tuple(nvidia_smi.parse("\n".join(smi), memory)), None
        if amd := _tagged(lines, "amd "):
            metric = "\n".join(_tagged(lines, "usage "))
            return tuple(rocm_smi.parse_amd_smi("\n".join(amd), metric)), None
        return tuple(rocm_smi.parse_rocm_smi("\n".join(_tagged(lines, "rocm ")))), None
    except HardwareError as error:
        return (), str(error)


def _tagged(lines: list[str], tag: str) -> list[str]:
    return [line.removeprefix(tag) for line in lines if line.startswith(tag)]
