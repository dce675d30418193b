"""NVIDIA GPUs, from what `nvidia-smi` prints.

Its query mode prints one CSV line per GPU, and on failure one sentence on stdout or stderr; both may come
mixed. The tool's exit status is not needed: the text tells.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.hardware.catalogue import MIB, candidates, identify
from ollama_fleet.hardware.cpu import HostMemory
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.errors import HardwareError, excerpt

# The order matters: what older drivers do not know comes last (compute_cap is unknown before release 510).
FIELDS = (
    "index",
    "uuid",
    "name",
    "memory.total",
    "memory.free",
    "memory.used",
    "driver_version",
    "compute_cap",
    "mig.mode.current",
)
_FEWEST = FIELDS.index("compute_cap")


def _query(fields: Sequence[str]) -> tuple[str, ...]:
    return ("nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits")


QUERY = _query(FIELDS)
QUERY_OLD_DRIVER = _query(FIELDS[:_FEWEST])
# Words without anything a shell would read, so they may be joined as they are. The driver that knows no
# compute_cap fails the first query; every other failure is told twice, which `parse` does not mind.
SHELL_QUERY = f"{' '.join(QUERY)} 2>&1 || {' '.join(QUERY_OLD_DRIVER)} 2>&1"

_LONGEST_TEXT = 1 << 20  # a thousand GPUs take 100 kB
_MOST_MIB = 1 << 24  # 16 TiB

_UNKNOWN_FIELD = re.compile(r'^Field "[^"]*" is not a valid field to query', re.IGNORECASE)
_REMARK = re.compile(r"^(WARNING\b|warning:|Note:)")

# What the tool says instead of a line, and what to do about it. The first that matches a line counts.
_FAILURES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"couldn't communicate with the NVIDIA driver",
            "nvidia-smi cannot reach the NVIDIA driver, whose kernel module is not loaded: load it with "
            "modprobe nvidia, or reinstall the driver for the running kernel (updates can leave it unbuilt)",
        ),
        (
            r"Driver/library version mismatch",
            "the NVIDIA kernel module and library are of different versions: reboot, or reload the module",
        ),
        (
            r"blocked by the operating system",
            "the operating system keeps the GPU from nvidia-smi: update the Windows host's NVIDIA driver",
        ),
        (
            r"Failed to initialize NVML: Insufficient Permissions",
            "nvidia-smi may not open the GPU: check the permissions of /dev/nvidia*",
        ),
        (
            r"Failed to initialize NVML",
            "nvidia-smi cannot start the NVIDIA library: check that the driver is loaded and that "
            "/dev/nvidia* can be opened",
        ),
        (
            r"No devices were found",
            "the NVIDIA driver is loaded and finds no GPU: check the card's seat and power, and the "
            "kernel log for NVRM",
        ),
        (
            r"Unable to determine the device handle|GPU is lost|fallen off the bus",
            "a GPU does not answer any more: reboot, and look for Xid errors in the kernel log",
        ),
        (
            r"No such file or directory|command not found|is not recognized|libnvidia-ml.*couldn't be found|"
            r"couldn't find libnvidia-ml",
            "nvidia-smi or its library is missing: install the NVIDIA driver",
        ),
    )
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ()\[\]/.+_\-]{0,95}")
_UUID = re.compile(r"(?:GPU-|MIG-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DRIVER = re.compile(r"\d{1,4}(?:\.\d{1,4}){1,3}")
_COMPUTE_CAPABILITY = re.compile(r"\d{1,2}\.\d")
_NO_VALUE = re.compile(r"\[.*\]|N/A|Not Supported|ERR!|Unknown Error", re.IGNORECASE)


def parse(text: str, host_memory: HostMemory | None = None) -> list[Device]:
    """Return the GPUs in the output of `QUERY` or `QUERY_OLD_DRIVER`, in its order; none for empty text.

    GPUs with unified memory report no sizes; theirs are those of the machine, `host_memory`.

    Raises HardwareError if the tool failed, if a GPU does not tell its memory or is divided by MIG, or if the
    text is not such output.
    """
    if len(text) > _LONGEST_TEXT:
        raise HardwareError(f"nvidia-smi printed {len(text)} characters: this is not the answer to a query")
    devices: list[Device] = []
    seen: set[int | str] = set()
    unknown_field = None
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or _REMARK.match(stripped):
            continue
        if _UNKNOWN_FIELD.match(stripped):
            unknown_field = stripped
            continue
        for pattern, advice in _FAILURES:
            if pattern.search(stripped):
                raise HardwareError(f"{advice} (it said {excerpt(stripped, 160)})")
        device = _Row.split(stripped, number).device(host_memory)
        for identity in (device.index, device.uuid):
            if identity in seen:
                raise HardwareError(f"nvidia-smi listed GPU {identity} twice")
            if identity is not None:
                seen.add(identity)
        devices.append(device)
    if unknown_field is not None and not devices:
        raise HardwareError(f"this nvidia-smi is older than the query: {excerpt(unknown_field, 120)}")
    return devices


@dataclass(frozen=True, slots=True)
class _Row:
    """One CSV line; `values` lacks the fields that this GPU or driver gives no value for."""

    number: int
    values: dict[str, str]
    refusals: dict[str, str]

    @classmethod
    def split(cls, line: str, number: int) -> "_Row":
        cells = [cell.strip() for cell in line.split(",")]
        if not _FEWEST <= len(cells) <= len(FIELDS):
            raise HardwareError(f"nvidia-smi line {number} is not one of a GPU: {excerpt(line)}")
        given = dict(zip(FIELDS, cells, strict=False))
        refusals = {field: cell for field, cell in given.items() if not cell or _NO_VALUE.fullmatch(cell)}
        return cls(number, {field: cell for field, cell in given.items() if field not in refusals}, refusals)

    def device(self, host_memory: HostMemory | None) -> Device:
        index = self._integer("index", 1023)
        name = self._matching("name", _NAME)
        if index is None or name is None:
            raise HardwareError(f"nvidia-smi line {self.number} has no index or no name")
        which = f"GPU {index} ({name})"
        if self.values.get("mig.mode.current", "").casefold() == "enabled":
            raise HardwareError(
                f"{which} is divided by MIG, and a server would see only its parts: switch MIG off with "
                f"nvidia-smi -i {index} -mig 0"
            )
        total, free = self._memory(which, name, host_memory)
        gpu = identify(name, total // MIB)
        return Device(
            index=index,
            uuid=self._matching("uuid", _UUID),
            name=name,
            kind=None if gpu is None else gpu.key,
            memory_total=total,
            memory_free=free,
            driver=self._matching("driver_version", _DRIVER),
            compute_capability=self._matching("compute_cap", _COMPUTE_CAPABILITY)
            or (None if gpu is None else gpu.compute_capability),
            vendor="nvidia",
            unified=gpu is not None and gpu.unified,
        )

    def _memory(self, which: str, name: str, host_memory: HostMemory | None) -> tuple[int, int | None]:
        """Return total and free bytes."""
        total, free, used = (self._integer(f"memory.{of}", _MOST_MIB) for of in ("total", "free", "used"))
        if total is None:
            if not any(gpu.unified for gpu in candidates(name, None)):
                raise HardwareError(self._no_memory(which))
            if host_memory is None:
                raise HardwareError(
                    f"{which} shares the machine's memory: its size must be read from /proc/meminfo"
                )
            return host_memory.total, host_memory.available
        if total == 0:
            raise HardwareError(self._no_memory(which))
        if free is None and used is not None:
            free = max(total - used, 0)
        if free is not None and free > total:
            raise HardwareError(f"{which} reports {free} MiB free of {total} MiB")
        return total * MIB, None if free is None else free * MIB

    def _no_memory(self, which: str) -> str:
        said = self.refusals.get("memory.total", "0")
        if "permission" in said.casefold():
            return f"{which} keeps its memory's size from this user ({excerpt(said)}): is it divided by MIG?"
        return f"{which} does not tell its memory's size ({excerpt(said)}): see the kernel log for Xid errors"

    def _integer(self, field: str, most: int) -> int | None:
        value = self.values.get(field)
        if value is None:
            return None
        digits = re.fullmatch(r"([0-9]{1,9})(?: MiB)?", value)
        if digits is None or int(digits[1]) > most:
            raise HardwareError(
                f"nvidia-smi line {self.number}: {field} is {excerpt(value)}, not a number in range"
            )
        return int(digits[1])

    def _matching(self, field: str, form: re.Pattern[str]) -> str | None:
        value = self.values.get(field)
        if value is not None and not form.fullmatch(value):
            raise HardwareError(
                f"nvidia-smi line {self.number}: {field} is {excerpt(value)}, which is not its usual form"
            )
        return value
