#!/usr/bin/python3 -IS
"""`nvidia-smi` for hosts without a GPU: answers from /usr/share/lab-gpus.json as the real tool prints it.

Installed into lab hosts by gpus.py. What it cannot answer truthfully it refuses loudly with exit status 99,
which the real tool never has, so that a test which asks for more than was recorded cannot pass by accident.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

DATA = Path("/usr/share/lab-gpus.json")
USED = Path("/run/lab-gpu-used.json")
"""Memory in use beyond the recording: {"INDEX": MiB}; written by Host.use_gpu_memory."""

TOLD = Path("/dev/shm")
"""Where a stand-in server tells what its models take: lab-gpu-used.PID.json, in the same form."""

UNITS = {
    "memory.total": "MiB", "memory.reserved": "MiB", "memory.used": "MiB", "memory.free": "MiB",
    "utilization.gpu": "%", "utilization.memory": "%", "fan.speed": "%",
    "power.draw": "W", "power.limit": "W", "power.max_limit": "W",
    "clocks.max.memory": "MHz", "clocks.max.sm": "MHz",
}  # fmt: skip
ALIASES = {"gpu_name": "name", "gpu_uuid": "uuid", "gpu_serial": "serial", "gpu_bus_id": "pci.bus_id"}
APPS = (
    "gpu_uuid",
    "gpu_name",
    "gpu_bus_id",
    "gpu_serial",
    "pid",
    "process_name",
    "name",
    "used_memory",
    "used_gpu_memory",
)

Gpu = dict[str, Any]


def refuse(what: str) -> NoReturn:
    """Say that there is no recording of `what`."""
    print(f"nvidia-smi of the lab: no recorded answer to {what}", file=sys.stderr)
    sys.exit(99)


def load() -> tuple[dict[str, Any], list[Gpu]]:
    """The recording and its GPUs, with what is in use at the moment."""
    data = json.loads(DATA.read_text())
    if failure := data.get("failure"):
        print(failure["says"])
        sys.exit(failure["status"])
    told = [USED, *(path for path in TOLD.glob("lab-gpu-used.*.json") if alive(path))]
    used = [json.loads(path.read_text()) for path in told if path.exists()]
    for gpu in data["gpus"]:
        gpu["memory.used"] += sum(one.get(str(gpu["index"]), 0) for one in used)
        gpu["memory.free"] = max(0, gpu["memory.total"] - gpu["memory.reserved"] - gpu["memory.used"])
    return data, data["gpus"]


def alive(path: Path) -> bool:
    """Whether the process that tells this still runs: one that was killed takes nothing back."""
    return Path("/proc", path.name.split(".")[1]).exists()


def cell(gpu: Gpu, field: str, units: bool) -> str:
    """One value as CSV shows it."""
    value = gpu[field]
    if value is None:
        return "[N/A]"
    text = f"{value:.2f}" if field.startswith("power.") else str(value)
    return f"{text} {UNITS[field]}" if units and field in UNITS else text


def table_format(spec: str) -> tuple[bool, bool]:
    """(header, units) of --format."""
    words = spec.split(",")
    if "csv" not in words:
        print('Format not specified: "--format=" requires "csv"')
        sys.exit(2)
    if unknown := set(words) - {"csv", "noheader", "nounits"}:
        refuse(f"--format with {', '.join(sorted(unknown))}")
    return "noheader" not in words, "nounits" not in words


def query_gpu(gpus: list[Gpu], fields: list[str], spec: str) -> int:
    header, units = table_format(spec)
    names = [ALIASES.get(field, field) for field in fields]
    for field, name in zip(fields, names, strict=True):
        if not gpus or name not in gpus[0]:
            # The real tool says this on standard output, followed by an empty line.
            print(f'Field "{field}" is not a valid field to query.\n')
            return 2
    if header:
        print(", ".join(f"{n} [{UNITS[n]}]" if units and n in UNITS else n for n in names))
    for gpu in gpus:
        print(", ".join(cell(gpu, name, units) for name in names))
    return 0


def query_apps(fields: list[str], spec: str) -> int:
    """No process of a lab host is on a GPU, so only the header is left of this answer."""
    header, units = table_format(spec)
    for field in fields:
        if field not in APPS:
            print(f'Field "{field}" is not a valid field to query.\n')
            return 2
    if header:
        print(", ".join(f"{f} [MiB]" if units and f.startswith("used_") else f for f in fields))
    return 0


def list_gpus(gpus: list[Gpu]) -> int:
    for gpu in gpus:
        print(f"GPU {gpu['index']}: {gpu['name']} (UUID: {gpu['uuid']})")
    return 0


def summary(data: dict[str, Any], gpus: list[Gpu]) -> int:
    """The table for people."""
    driver, cuda = data["driver_version"], data["cuda_version"]
    line = "+" + "-" * 89 + "+"
    columns = ("-" * 41, "-" * 24, "-" * 22)
    print(time.strftime("%a %b %e %H:%M:%S %Y") + " " * 7)
    print(line)
    print(f"| NVIDIA-SMI {driver:<21}  Driver Version: {driver:<14} CUDA Version: {cuda:<9}|")
    print("|" + "+".join(columns) + "+")
    for cells in (
        ("GPU  Name", "Persistence-M", "Bus-Id", "Disp.A", "Volatile Uncorr. ECC"),
        ("Fan  Temp   Perf", "Pwr:Usage/Cap", "", "Memory-Usage", "GPU-Util  Compute M."),
    ):
        print("| {:<24}{:>15} | {:<8}{:>14} | {:>20} |".format(*cells))
    print(f"| {'':<39} | {'':<22} | {'MIG M.':>20} |")
    print("|" + "+".join(part.replace("-", "=") for part in columns) + "|")
    for gpu in gpus:
        mode = {"Enabled": "On", "Disabled": "Off"}
        ecc = {"Enabled": "0", "Disabled": "Off"}.get(gpu["ecc.mode.current"], "N/A")
        fan = "N/A" if gpu["fan.speed"] is None else f"{gpu['fan.speed']}%"
        power = f"{gpu['power.draw']:.0f}W / {gpu['power.limit']:>4.0f}W"
        memory = f"{gpu['memory.used']}MiB / {gpu['memory.total']}MiB"
        head = f"{gpu['index']:>3}  {gpu['name'][:24]:<27}{mode[gpu['persistence_mode']]:>6}"
        body = f"{fan:>3}   {gpu['temperature.gpu']}C    {gpu['pstate']:<3}{power:>20}"
        print(f"| {head:<39} | {gpu['pci.bus_id']:<16}{mode[gpu['display_active']]:>4}   | {ecc:>20} |")
        print(f"| {body:<39} | {memory:>22} | {gpu['utilization.gpu']:>6}%      {gpu['compute_mode']} |")
        mig = gpu["mig.mode.current"] or "N/A"
        print(f"| {'':<39} | {'':<22} | {mig:>20} |")
        print("+" + "+".join(columns) + "+")
    print(" " * 91)
    print(line)
    print(f"| {'Processes:':<87} |")
    print(f"| {' GPU   GI   CI        PID   Type   Process name':<74}{'GPU Memory':>10}    |")
    print(f"| {'       ID   ID':<74}{'Usage':<10}    |")
    print(line.replace("-", "=").replace("+", "|"))
    print(f"| {' No running processes found':<87} |")
    print(line)
    return 0


def log_xml(data: dict[str, Any], gpus: list[Gpu]) -> int:
    """`-q -x`, with the elements that were recorded and no others."""
    print('<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n<nvidia_smi_log>')
    print(f"\t<timestamp>{time.strftime('%a %b %e %H:%M:%S %Y')}</timestamp>")
    for tag in ("driver_version", "cuda_version"):
        print(f"\t<{tag}>{data[tag]}</{tag}>")
    print(f"\t<attached_gpus>{len(gpus)}</attached_gpus>")
    for gpu in gpus:
        domain, bus, device = gpu["pci.bus_id"].split(":")

        def value(field: str, gpu: Gpu = gpu) -> str:
            return "N/A" if gpu[field] is None else cell(gpu, field, True)

        tree: dict[str, Any] = {
            "product_name": value("name"),
            "product_brand": value("brand"),
            "product_architecture": value("architecture"),
            "display_active": value("display_active"),
            "persistence_mode": value("persistence_mode"),
            "mig_mode": {"current_mig": value("mig.mode.current"), "pending_mig": value("mig.mode.current")},
            "serial": value("serial"),
            "uuid": value("uuid"),
            "minor_number": str(gpu["index"]),
            "vbios_version": value("vbios_version"),
            "pci": {
                "pci_bus": bus,
                "pci_device": device.partition(".")[0],
                "pci_domain": domain[-4:],
                "pci_bus_id": value("pci.bus_id"),
            },
            "fan_speed": value("fan.speed"),
            "performance_state": value("pstate"),
            "fb_memory_usage": {
                part: value(f"memory.{part}") for part in ("total", "reserved", "used", "free")
            },
            "compute_mode": "Default",
            "utilization": {"gpu_util": value("utilization.gpu"), "memory_util": value("utilization.memory")},
            "ecc_mode": {"current_ecc": value("ecc.mode.current"), "pending_ecc": value("ecc.mode.current")},
            "temperature": {"gpu_temp": f"{gpu['temperature.gpu']} C"},
            "gpu_power_readings": {
                "power_draw": value("power.draw"),
                "current_power_limit": value("power.limit"),
            },
            "processes": {},
        }
        print(f'\t<gpu id="{gpu["pci.bus_id"]}">')
        write(tree, 2)
        print("\t</gpu>\n")
    print("</nvidia_smi_log>")
    return 0


def write(tree: dict[str, Any], depth: int) -> None:
    for tag, value in tree.items():
        if isinstance(value, dict):
            print("\t" * depth + f"<{tag}>")
            write(value, depth + 1)
            print("\t" * depth + f"</{tag}>")
        else:
            print("\t" * depth + f"<{tag}>{value}</{tag}>")


def choose(gpus: list[Gpu], wanted: str) -> list[Gpu]:
    """The GPUs that -i names by index, UUID or bus id."""
    chosen = []
    for word in wanted.split(","):
        found = [gpu for gpu in gpus if word in (str(gpu["index"]), gpu["uuid"], gpu["pci.bus_id"])]
        if not found:
            print("No devices were found")
            sys.exit(6)
        chosen += found
    return chosen


def main(arguments: list[str]) -> int:
    """Answer one command line. Status 2: an invalid field, as with the real tool; 99: nothing recorded."""
    options: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        name = {"-L": "--list-gpus", "-i": "--id", "-q": "--query", "-x": "--xml-format"}.get(name, name)
        if name in ("--list-gpus", "--query", "--xml-format") and not equals:
            options[name] = ""
        elif name in ("--query-gpu", "--query-compute-apps", "--format", "--id"):
            if not equals and not waiting:
                refuse(f"{name} without a value")
            options[name] = value if equals else waiting.pop(0)
        else:
            refuse(word)
    data, gpus = load()
    if "--id" in options:
        gpus = choose(gpus, options.pop("--id"))
    what = set(options)
    spec = options.get("--format", "")
    if not what:
        return summary(data, gpus)
    if what == {"--list-gpus"}:
        return list_gpus(gpus)
    if what == {"--query", "--xml-format"}:
        return log_xml(data, gpus)
    if what in ({"--query-gpu"}, {"--query-gpu", "--format"}):
        return query_gpu(gpus, [f.strip() for f in options["--query-gpu"].split(",")], spec)
    if what in ({"--query-compute-apps"}, {"--query-compute-apps", "--format"}):
        return query_apps([f.strip() for f in options["--query-compute-apps"].split(",")], spec)
    refuse(" ".join(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
