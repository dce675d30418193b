"""What a machine has: the GPU catalogue, the devices its tools report, its CPU and memory.

`catalogue` knows kinds of GPU (`Gpu`); `nvidia_smi`, `rocm_smi` and `nvml` read the devices of one machine
(`Device`); `cpu` reads what a CPU-only placement needs. The readers of text are pure: they take what a tool
printed and either return devices or raise `HardwareError` with one line.
"""

from ollama_fleet.hardware.catalogue import Gpu, Vendor, candidates, catalogue, identify, names, nearest
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.errors import HardwareError

__all__ = [
    "Device",
    "Gpu",
    "HardwareError",
    "Vendor",
    "candidates",
    "catalogue",
    "identify",
    "names",
    "nearest",
]
