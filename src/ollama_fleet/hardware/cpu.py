"""The CPU and memory of a machine, and how fast that memory is: what a placement without a GPU lives on."""

import re
from dataclasses import dataclass

from ollama_fleet.hardware.errors import HardwareError, excerpt

_LONGEST_TEXT = 16 << 20  # /proc/cpuinfo has about 1.5 kB per hardware thread


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Memory of a machine in bytes; `available`, to be had without swapping, is unknown before Linux 3.14."""

    total: int
    available: int | None


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors of a machine; `model` is None where the kernel does not name it (most Arm machines)."""

    model: str | None
    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class MemoryBus:
    """Memory channels of one CPU socket and the fastest transfers, in MT/s, it supports on all of them."""

    channels: int
    mt_per_s: int

    @property
    def bandwidth_gb_s(self) -> float:
        """Peak bandwidth of one socket in 10^9 bytes per second."""
        return memory_bandwidth_gb_s(self.channels, self.mt_per_s)


def memory_bandwidth_gb_s(channels: int, mt_per_s: int) -> float:
    """Return peak bandwidth in 10^9 bytes per second: channels × MT/s × 8 bytes.

    A DDR channel is 64 data bits wide (DDR5 splits it in two halves of 32, which changes nothing here).
    Twelve channels of DDR5-4800 give 460.8.
    """
    return channels * mt_per_s * 8 / 1000


# Channels and speed from AMD's and Intel's specifications of each series; the first pattern found in the
# model's name counts. The speed is the series' best with one module per channel: slower modules must be given
# by hand.
_BUSES: tuple[tuple[re.Pattern[str], MemoryBus], ...] = tuple(
    (re.compile(pattern), MemoryBus(channels, mt_per_s))
    for pattern, channels, mt_per_s in (
        (r"EPYC 8\d{2}4", 6, 4800),  # Siena
        (r"EPYC 4\d{2}[45]", 2, 5200),  # EPYC 4004 and 4005, desktop socket
        (r"EPYC 9\d{2}5", 12, 6000),  # Turin, among them 9755
        (r"EPYC 9\w{2}4", 12, 4800),  # Genoa and Bergamo
        (r"EPYC 7\w{2}[23]", 8, 3200),  # Rome and Milan
        (r"EPYC 7\w{2}1", 8, 2666),  # Naples
        (r"Threadripper PRO 7\d{3}WX", 8, 5200),
        (r"Threadripper PRO 9\d{3}WX", 8, 6400),
        (r"Threadripper PRO [35]\d{3}WX", 8, 3200),
        (r"Threadripper 9\d{3}X", 4, 6400),
        (r"Threadripper 7\d{3}X", 4, 5200),
        (r"Threadripper 3\d{3}X", 4, 3200),
        (r"Xeon\(R\) 69\d{2}P", 12, 6400),  # Granite Rapids-AP
        (r"Xeon\(R\) 6[57]\d{2}P", 8, 6400),  # Granite Rapids-SP
        (r"Xeon\(R\) (?:Platinum|Gold) [568]5\d{2}", 8, 5600),  # Emerald Rapids
        (r"Xeon\(R\) (?:Platinum|Gold) [568]4\d{2}", 8, 4800),  # Sapphire Rapids
        (r"Xeon\(R\) CPU Max", 8, 4800),
        (r"Xeon\(R\) (?:Platinum|Gold) [568]3\d{2}", 8, 3200),  # Ice Lake
        (r"Xeon\(R\) (?:Platinum|Gold) [568]2\d{2}", 6, 2933),  # Cascade Lake
        (r"Xeon\(R\) (?:Platinum|Gold) [568]1\d{2}", 6, 2666),  # Skylake
        (r"Xeon\(R\) CPU E7-\d{4} v[34]", 4, 3200),  # four buffered links, 102 GB/s
        (r"Xeon\(R\) CPU E7-\d{4} v2", 4, 2667),  # four buffered links, 85 GB/s
        (r"Xeon\(R\) CPU E5-[24]6\d{2} v4", 4, 2400),
        (r"Xeon\(R\) CPU E5-[24]6\d{2} v3", 4, 2133),
        (r"Ampere\(R\) Altra|Altra Max", 8, 3200),
    )
)


def memory_bus(model: str) -> MemoryBus | None:
    """Return the memory bus of one socket of a CPU by its name in /proc/cpuinfo, None for one not listed."""
    return next((bus for pattern, bus in _BUSES if pattern.search(model[:200])), None)


def parse_meminfo(text: str) -> HostMemory:
    """Return what `/proc/meminfo` tells. Raises HardwareError if it has no MemTotal."""
    sizes: dict[str, int] = {}
    for line in text[:_LONGEST_TEXT].splitlines():
        # The kernel writes "kB" and means KiB.
        entry = re.fullmatch(r"(MemTotal|MemAvailable):\s*([0-9]{1,14}) kB\s*", line)
        if entry is not None:
            sizes.setdefault(entry[1], int(entry[2]) * 1024)
    total = sizes.get("MemTotal", 0)
    if total == 0:
        raise HardwareError(f"/proc/meminfo has no MemTotal: {excerpt(text)}")
    available = sizes.get("MemAvailable")
    return HostMemory(total, None if available is None else min(available, total))


def parse_cpuinfo(text: str) -> Cpu:
    """Return what `/proc/cpuinfo` tells. Raises HardwareError if it lists no processor.

    Where the kernel does not say which thread belongs to which core (Arm, some guests), each counts as a
    core.
    """
    threads = 0
    model: str | None = None
    cores: set[tuple[str, str]] = set()
    for block in re.split(r"\n\s*\n", text[:_LONGEST_TEXT]):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key.strip(), value.strip())
        if not re.fullmatch(r"[0-9]+", fields.get("processor", "")):
            continue
        threads += 1
        if model is None and fields.get("model name", "").isprintable():
            model = fields.get("model name", "")[:200] or None
        thread = fields["processor"]
        cores.add((fields.get("physical id", "0"), fields.get("core id", f"thread {thread}")))
    if threads == 0:
        raise HardwareError(f"/proc/cpuinfo lists no processor: {excerpt(text)}")
    return Cpu(model=model, sockets=len({socket for socket, _ in cores}), cores=len(cores), threads=threads)
