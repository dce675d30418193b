"""AMD GPUs, from the JSON that `amd-smi` and its predecessor `rocm-smi` print.

Both print remarks before the JSON, and give "N/A" for a value that a device does not have. `rocm-smi` has one
object per card and plain strings; `amd-smi` has a list, since ROCm 7 inside `gpu_data`, and `{"value": …,
"unit": "MB"}` for sizes, where MB means MiB.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ollama_fleet.hardware.catalogue import MIB, Gpu, candidates
from ollama_fleet.hardware.device import Device
from ollama_fleet.hardware.errors import HardwareError, excerpt

ROCM_SMI_QUERY = (
    "rocm-smi",
    "--showproductname",
    "--showuniqueid",
    "--showdriverversion",
    "--showmeminfo",
    "vram",
    "gtt",
    "--json",
)
AMD_SMI_STATIC_QUERY = ("amd-smi", "static", "--asic", "--vram", "--driver", "--json")
AMD_SMI_METRIC_QUERY = ("amd-smi", "metric", "--mem-usage", "--json")

_LONGEST_TEXT = 4 << 20
_MOST_BYTES = 1 << 44  # 16 TiB
_FAILURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"driver not initialized|amdgpu not found in modules|initstate: No such file", re.IGNORECASE
        ),
        "the amdgpu kernel module is not loaded: load it with modprobe amdgpu, or install AMD's driver",
    ),
    (
        re.compile(r"command not found|No such file or directory", re.IGNORECASE),
        "the tool is missing: install rocm-smi-lib or amd-smi-lib",
    ),
    (
        re.compile(r"permission denied|not in the (render|video) group", re.IGNORECASE),
        "the GPU may not be opened by this user: add it to the groups render and video",
    ),
    (
        re.compile(r"Invalid platform", re.IGNORECASE),
        "this amd-smi does not fit the loaded driver: use the one of the installed ROCm (/opt/rocm/bin)",
    ),
)


def parse_rocm_smi(text: str) -> list[Device]:
    """Return the GPUs in the output of `ROCM_SMI_QUERY`, by card number; none for empty text.

    Raises HardwareError if the tool failed, if a card tells no memory size, or if the text is not such
    output.
    """
    document = _document(text, "rocm-smi")
    if document is None:
        return []
    if not isinstance(document, dict):
        raise HardwareError("rocm-smi printed JSON that has no cards")
    system = _plain(document.get("system"))
    devices = []
    for key, value in document.items():
        number = re.fullmatch(r"card(0|[1-9][0-9]{0,3})", key)
        if number is None:
            continue
        # Spelling of the keys changed over releases in nothing but case ("Card series", "Card Series").
        card = _plain(value)
        vram = _pool(card.get("vram total memory (b)"), card.get("vram total used memory (b)"), None)
        gtt = _pool(card.get("gtt total memory (b)"), card.get("gtt total used memory (b)"), None)
        devices.append(
            _device(
                "rocm-smi",
                index=int(number[1]),
                name=card.get("card series") or card.get("device name") or card.get("card model"),
                identity=card.get("unique id"),
                pools=(vram, gtt),
                driver=card.get("driver version") or system.get("driver version"),
                gfx_target=card.get("gfx version"),
            )
        )
    return sorted(devices, key=lambda device: device.index)


def parse_amd_smi(static: str, metric: str = "") -> list[Device]:
    """Return the GPUs in the output of `AMD_SMI_STATIC_QUERY`; `AMD_SMI_METRIC_QUERY` adds free memory.

    Raises HardwareError if the tool failed, if a GPU tells no memory size, or if the text is not such output.
    """
    usage = {index: _section(entry, "mem_usage") for index, entry in _gpu_data(metric, "amd-smi metric")}
    devices = []
    for index, entry in _gpu_data(static, "amd-smi static"):
        asic, vram, driver = (_section(entry, name) for name in ("asic", "vram", "driver"))
        used = usage.get(index, {})
        size = _mib(used.get("total_vram")) or _mib(vram.get("size")) or _mib(vram.get("vram_size_mb"))
        devices.append(
            _device(
                "amd-smi",
                index=index,
                name=_string(asic.get("market_name")),
                identity=_string(asic.get("asic_serial")),
                pools=(
                    _pool(size, _mib(used.get("used_vram")), _mib(used.get("free_vram"))),
                    _pool(
                        _mib(used.get("total_gtt")), _mib(used.get("used_gtt")), _mib(used.get("free_gtt"))
                    ),
                ),
                driver=_string(driver.get("version")) or _string(driver.get("driver_version")),
                gfx_target=_string(asic.get("target_graphics_version")),
            )
        )
    return sorted(devices, key=lambda device: device.index)


_Pool = tuple[int, int | None]  # total and free bytes


def _device(
    tool: str,
    *,
    index: int,
    name: str | None,
    identity: str | None,
    pools: tuple[_Pool | None, _Pool | None],
    driver: str | None,
    gfx_target: str | None,
) -> Device:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_ ()\[\]/.,+:&®™-]{1,128}", name):
        raise HardwareError(f"{tool} names GPU {index} {excerpt(name)}")
    which = f"GPU {index}" if name is None else f"GPU {index} ({name})"
    vram, gtt = pools
    if vram is None:
        raise HardwareError(
            f"{which}: {tool} does not tell its memory's size; look for amdgpu errors in the kernel log"
        )
    target = _matching(gfx_target, r"gfx[0-9a-f]{3,5}")
    # The memory of an APU is a carve-out or, if that is the larger, what the kernel lets the GPU map (GTT).
    shared = any(gpu.unified for gpu in _kinds(name or "", target, None))
    total, free = max(vram, gtt, key=lambda pool: pool[0]) if shared and gtt is not None else vram
    gpu = next(iter(_kinds(name or "", target, total // MIB)), None)
    return Device(
        index=index,
        uuid=_uuid(identity),
        name=name or "AMD GPU",
        kind=None if gpu is None else gpu.key,
        memory_total=total,
        memory_free=free,
        driver=_matching(driver, r"[A-Za-z0-9_.+~-]{1,64}"),
        compute_capability=None,
        vendor="amd",
        gfx_target=target or (None if gpu is None else gpu.gfx_target),
        unified=gpu is not None and gpu.unified,
    )


def _kinds(name: str, gfx_target: str | None, memory_mib: int | None) -> list[Gpu]:
    """Return the kinds that name, target and size allow, the slowest of those with one name first."""
    return [
        gpu
        for one in _marketing_names(name)
        for gpu in candidates(one, memory_mib)
        if gfx_target is None or gpu.gfx_target in (None, gfx_target)
    ]


def _marketing_names(series: str) -> list[str]:
    """Return the names in a "Card Series".

    It is one name, or the PCI id database's entry for a chip: "Navi 31 [Radeon RX 7900 XT/7900 XTX]", where
    the first name in brackets lends its beginning to the others.
    """
    bracketed = re.search(r"\[([^\[\]]{1,128})\]", series)
    if bracketed is None:
        return [series]
    first, *others = (part.strip() for part in bracketed[1].split("/"))
    beginning = re.match(r"(?:\D+ )?", first)
    lent = "" if beginning is None else beginning[0]
    return [series, first, *others, *(lent + other for other in others)]


def _uuid(identity: str | None) -> str | None:
    """Return `GPU-` and 16 hex digits, which ROCR_VISIBLE_DEVICES takes, of a device's unique number."""
    if identity is None or not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", identity):
        return None
    number = int(identity, 16)
    return f"GPU-{number:016x}" if number else None


def _document(text: str, tool: str) -> Any:
    """Return the JSON in a tool's output, None if there is no output at all."""
    if len(text) > _LONGEST_TEXT:
        raise HardwareError(f"{tool} printed {len(text)} characters: this is not the answer to a query")
    if not text.strip():
        return None
    starts = [match.start() for match in re.finditer(r"^[ \t]*[\[{]", text, re.MULTILINE)][:4]
    for start in starts:
        try:
            return json.JSONDecoder().raw_decode(text[start:].lstrip())[0]
        except (ValueError, RecursionError):
            continue
    for pattern, advice in _FAILURES:
        if pattern.search(text):
            raise HardwareError(f"{tool}: {advice} (it said {excerpt(text.strip(), 160)})")
    raise HardwareError(f"{tool} printed no JSON: {excerpt(text.strip(), 160)}")


def _gpu_data(text: str, tool: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    document = _document(text, tool)
    entries = document.get("gpu_data") if isinstance(document, dict) else document
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise HardwareError(f"{tool} printed JSON that has no list of GPUs")
    seen = set()
    for entry in entries:
        index = entry.get("gpu") if isinstance(entry, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1024 or index in seen:
            raise HardwareError(f"{tool} lists a GPU without a number of its own: {excerpt(str(index))}")
        seen.add(index)
        yield index, entry


def _section(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> dict[str, str]:
    """Return the strings of an object under casefolded keys, without those that stand for no value."""
    if not isinstance(value, dict):
        return {}
    strings = ((key.casefold(), _string(one)) for key, one in value.items())
    return {key: one for key, one in strings if one is not None}


def _string(value: Any) -> str | None:
    if not isinstance(value, str) or value.strip().casefold() in ("", "n/a", "none", "unknown"):
        return None
    return value.strip()


def _matching(value: str | None, form: str) -> str | None:
    return value if value is not None and re.fullmatch(form, value) else None


def _mib(value: Any) -> int | None:
    """Return the bytes of a size in MiB: a number, "24560 MB", or a value with its unit."""
    if isinstance(value, dict):
        if value.get("unit") not in ("MB", "MiB"):
            return None
        value = value.get("value")
    if isinstance(value, str):
        digits = re.fullmatch(r"\s*([0-9]{1,9})(?: ?Mi?B)?\s*", value)
        value = None if digits is None else int(digits[1])
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value * MIB


def _pool(total: int | str | None, used: int | str | None, free: int | None) -> _Pool | None:
    """Return total and free bytes of a kind of memory; None where its size is not told or makes no sense."""
    size, taken = _count(total), _count(used)
    if not size:
        return None
    if free is None and taken is not None:
        free = max(size - taken, 0)
    return size, free if free is not None and 0 <= free <= size else None


def _count(value: int | str | None) -> int | None:
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"[0-9]{1,15}", value) else None
    return value if value is not None and 0 <= value <= _MOST_BYTES else None
