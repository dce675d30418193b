"""The cmdlets that the stand-in knows, each with the parameters that it understands."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windows.values import NotModelledError, PsEnum, PsObject, ThrownError, collapse, each, plain, text, truth

if TYPE_CHECKING:
    from windows.machine import Machine
    from windows.powershell import Interpreter

Cmdlet = Callable[["Machine", "Interpreter", dict[str, Any], list[Any], Any], list[Any]]
KNOWN: dict[str, tuple[Cmdlet, set[str]]] = {}
POSITIONAL = {"write-output", "start-sleep", "get-command"}
"""Cmdlets that may be given a value without its name."""


def cmdlet(name: str, *parameters: str) -> Callable[[Cmdlet], Cmdlet]:
    def add(function: Cmdlet) -> Cmdlet:
        KNOWN[name.lower()] = (function, {parameter.lower() for parameter in parameters})
        return function

    return add


@cmdlet("Write-Output")
def _write(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [item for value in rest for item in each(value)]


@cmdlet("Start-Sleep", "Milliseconds", "Seconds")
def _sleep(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    time.sleep(min(p.get("milliseconds", 0) / 1000 + p.get("seconds", 0), 5))
    return []


@cmdlet("New-Object", "TypeName", "ArgumentList")
def _new_object(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [m.construct(text(p["typename"]), list(each(p.get("argumentlist"))))]


@cmdlet("ConvertTo-Json", "Compress", "Depth", "InputObject")
def _to_json(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    value = p["inputobject"] if "inputobject" in p else collapse(list(piped))
    _check_depth(value, int(p.get("depth", 2)))
    return [json.dumps(plain(value), separators=(",", ":"))]


def _check_depth(value: Any, left: int) -> None:
    """The real one cuts off what is deeper, silently: that must not pass."""
    inner = (
        value.properties.values() if isinstance(value, PsObject) else value if isinstance(value, list) else ()
    )
    if inner and left < 0:
        raise NotModelledError("ConvertTo-Json deeper than -Depth")
    for child in inner:
        _check_depth(child, left - 1)


@cmdlet("Test-Path", "LiteralPath", "PathType")
def _test_path(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    there = m.file(text(p["literalpath"]))
    kind = text(p.get("pathtype", "Any")).lower()
    return [{"any": there.exists(), "leaf": there.is_file(), "container": there.is_dir()}[kind]]


@cmdlet("Get-Item", "LiteralPath", "Force")
def _get_item(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    from windows.machine import item

    path = text(p["literalpath"])
    there = m.file(path)
    if not (there.exists()):
        raise ThrownError(f"Cannot find path '{path}' because it does not exist.")
    return [item(path, there)]


@cmdlet("Get-ChildItem", "LiteralPath", "Recurse", "File", "Directory", "Force")
def _children(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    from windows.machine import item

    path = text(p["literalpath"]).rstrip("\\")
    folder = m.file(path)
    if not folder.is_dir():
        raise ThrownError(f"Cannot find path '{path}' because it does not exist.")
    found = sorted(
        folder.rglob("*") if p.get("recurse") else folder.iterdir(), key=lambda one: str(one).lower()
    )
    if p.get("file"):
        found = [one for one in found if one.is_file()]
    if p.get("directory"):
        found = [one for one in found if one.is_dir()]
    return [item(path + "\\" + "\\".join(one.relative_to(folder).parts), one) for one in found]


@cmdlet("Remove-Item", "LiteralPath", "Recurse", "Force")
def _remove_item(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    for value in each(p["literalpath"]):
        there = m.file(text(value))
        if not there.exists():
            raise ThrownError(f"Cannot find path '{value}' because it does not exist.")
        _not_in_use(m, there)
        if there.is_dir():
            if any(there.iterdir()) and not p.get("recurse"):
                raise NotModelledError("Remove-Item would ask")
            shutil.rmtree(there)
        else:
            there.unlink()
    return []


def _not_in_use(m: Machine, there: Path) -> None:
    """Windows keeps the image of a running process."""
    for process in m.processes.running():
        if m.file(process.image).resolve().is_relative_to(there.resolve()):
            raise ThrownError(f"Access to the path '{process.image}' is denied.")


@cmdlet("Move-Item", "LiteralPath", "Destination", "Force")
def _move(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    source, target = m.file(text(p["literalpath"])), m.file(text(p["destination"]))
    if not source.exists():
        raise ThrownError(f"Cannot find path '{p['literalpath']}' because it does not exist.")
    if target.is_dir():
        raise NotModelledError("Move-Item into a directory that is there")
    if target.exists() and not p.get("force"):
        raise ThrownError("Cannot create a file when that file already exists.")
    _not_in_use(m, source)
    source.replace(target)
    return []


@cmdlet("Copy-Item", "LiteralPath", "Destination", "Recurse", "Force")
def _copy(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    source, target = m.file(text(p["literalpath"])), m.file(text(p["destination"]))
    if target.exists() or not (source.is_dir() and p.get("recurse")):
        raise NotModelledError("Copy-Item of anything but a directory to a new place")
    shutil.copytree(source, target)
    return []


@cmdlet("Get-FileHash", "LiteralPath", "Algorithm")
def _hash(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    if text(p.get("algorithm", "SHA256")) != "SHA256":
        raise NotModelledError("another algorithm")
    there = m.file(text(p["literalpath"]))
    if not there.is_file():
        raise ThrownError(f"Cannot find path '{p['literalpath']}'")
    with there.open("rb") as file:
        return [PsObject("FileHashInfo", {"Hash": hashlib.file_digest(file, "sha256").hexdigest().upper()})]


@cmdlet("Get-Command", "Name", "CommandType")
def _get_command(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    name = text(p.get("name", rest[0] if rest else "")).lower()
    there = {"curl.exe", "tar.exe", "icacls.exe"} | ({"nvidia-smi.exe"} if m.gpus.exists() else set())
    if name in there:
        return [PsObject("ApplicationInfo", {"Source": f"C:\\Windows\\System32\\{name}"})]
    raise ThrownError(f"The term '{name}' is not recognized.")


@cmdlet("Get-CimInstance", "ClassName", "Filter", "Property")
def _cim(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    kind, wanted = text(p["classname"]).lower(), text(p.get("filter"))
    if kind == "win32_operatingsystem":
        properties = {
            "Caption": "Microsoft Windows 10 Pro (a stand-in)",
            "Version": "10.0.19045",
            "TotalVisibleMemorySize": 32 * 2**20,
            "FreePhysicalMemory": 24 * 2**20,
        }
        return [PsObject(kind, properties)]
    if kind == "win32_process":
        if wanted.startswith("ProcessId = "):
            found = [process for process in m.processes.running() if f"ProcessId = {process.pid}" == wanted]
        else:
            names = {part.removeprefix("Name = ").strip("'").lower() for part in wanted.split(" OR ")}
            found = [process for process in m.processes.running() if process.name.lower() in names]
        return [
            PsObject(
                kind,
                {
                    "ProcessId": process.pid,
                    "ParentProcessId": process.parent,
                    "Name": process.name,
                    "ExecutablePath": process.image,
                    "CommandLine": f'"{process.image}" {process.arguments}',
                },
            )
            for process in found
        ]
    if kind == "win32_logicaldisk":
        letter = wanted.split("=", 1)[1].strip(" '").lower()
        try:
            usage = shutil.disk_usage(m.wine.path(letter + "\\"))
        except FileNotFoundError:
            return []
        return [PsObject(kind, {"DeviceID": letter.upper(), "FreeSpace": usage.free, "Size": usage.total})]
    raise NotModelledError(f"Get-CimInstance {kind}")


@cmdlet("Stop-Process", "Id", "Force")
def _stop_process(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    for number in each(p["id"]):
        found = [process for process in m.processes.running() if process.pid == number]
        if not found:
            raise ThrownError(f"Cannot find a process with the process identifier {number}.")
        found[0].kill()
    return []


@cmdlet(
    "Start-Process",
    "FilePath", "ArgumentList", "WorkingDirectory", "NoNewWindow", "PassThru",
    "RedirectStandardOutput", "RedirectStandardError",
)  # fmt: skip
def _start_process(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    out, err = text(p.get("redirectstandardoutput")), text(p.get("redirectstandarderror"))
    if out and out == err:
        raise ThrownError("RedirectStandardOutput and RedirectStandardError are the same.")
    path = m.file(text(p["filepath"]))
    if not path.is_file():
        raise ThrownError("This command cannot be run: The system cannot find the file specified.")
    image = text(p["filepath"])
    log = m.file(err) if err else None
    shell = i.variables.get("__shell")
    arguments = " ".join(map(text, each(p.get("argumentlist"))))
    process = m.processes.start(image, arguments, i.environment, log, shell.pid if shell else 0)

    def wait() -> None:
        while process.alive and not (shell is not None and shell.ended.is_set()):
            time.sleep(0.05)

    shown = PsObject(
        "Process", {"Id": process.pid, "Handle": 1, "ExitCode": process.code}, {"WaitForExit": wait}
    )
    return [shown] if p.get("passthru") else []


@cmdlet("Get-NetFirewallRule", "Name", "DisplayName")
def _rules(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [rule.shown() for rule in m.firewall.find(p)]


_RULE = (
    "Name",
    "Description",
    "Enabled",
    "Profile",
    "Direction",
    "Action",
    "RemoteAddress",
    "Protocol",
    "LocalPort",
)


@cmdlet("New-NetFirewallRule", "DisplayName", "Program", *_RULE)
def _new_rule(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [m.firewall.new(p).shown()]


@cmdlet("Set-NetFirewallRule", "NewDisplayName", *_RULE)
def _set_rule(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    for rule in m.firewall.find({"name": p["name"]}):
        rule.change({key: value for key, value in p.items() if key not in ("name", "erroraction")})
    return []


@cmdlet("Remove-NetFirewallRule", "Name", "DisplayName")
def _remove_rule(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    if not {"name", "displayname"} & set(p):
        raise NotModelledError("Remove-NetFirewallRule of everything")
    for rule in m.firewall.find(p):
        del m.firewall.rules[rule.name]
    return []


@cmdlet("Get-NetFirewallPortFilter", "Protocol")
def _ports(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    wanted = text(p.get("protocol", "Any")).upper()
    return [
        PsObject(
            "MSFT_NetProtocolPortFilter",
            {
                "InstanceID": rule.name,
                "Protocol": rule.protocol,
                "LocalPort": rule.ports[0] if len(rule.ports) == 1 else rule.ports or "Any",
            },
        )
        for rule in m.firewall.rules.values()
        if wanted in ("ANY", rule.protocol.upper())
    ]


@cmdlet("Get-NetFirewallAddressFilter")
def _addresses(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    rules = m.firewall.rules.values()
    if piped is not None:
        names = [one.get("Name") for one in piped]
        rules = [rule for rule in rules if rule.name in names]  # type: ignore[assignment]
    return [
        PsObject(
            "MSFT_NetAddressFilter",
            {
                "InstanceID": rule.name,
                "RemoteAddress": rule.addresses[0] if len(rule.addresses) == 1 else rule.addresses or "Any",
            },
        )
        for rule in rules
    ]


@cmdlet("Get-NetFirewallApplicationFilter")
def _programs(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [
        PsObject("MSFT_NetApplicationFilter", {"InstanceID": rule.name, "Program": rule.program})
        for rule in m.firewall.rules.values()
    ]


@cmdlet("Get-NetFirewallProfile", "PolicyStore", "Name")
def _profiles(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    on = PsEnum("True", 1) if m.firewall.enabled else PsEnum("False", 0)
    local = PsEnum("NotConfigured", 2) if m.firewall.local_rules else PsEnum("False", 0)
    return [
        PsObject(
            "MSFT_NetFirewallProfile",
            {
                "Name": name,
                "Enabled": on,
                "DefaultInboundAction": PsEnum("NotConfigured", 0),
                "AllowLocalFirewallRules": local,
            },
        )
        for name in ("Domain", "Private", "Public")
    ]


@cmdlet("Get-NetTCPConnection", "State", "LocalPort")
def _connections(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    if text(p.get("state")) != "Listen":
        raise NotModelledError("connections that are not listening")
    found = [process for process in m.processes.running() if process.port == p["localport"]]
    return [PsObject("MSFT_NetTCPConnection", {"OwningProcess": process.pid}) for process in found]


def _task(m: Machine, p: dict[str, Any]) -> Any:
    key = f"{text(p.get('taskpath', chr(92)))}{text(p['taskname'])}".lower()
    if key not in m.scheduler.tasks:
        raise ThrownError(f"No MSFT_ScheduledTask objects found: {key}")
    return m.scheduler.tasks[key]


@cmdlet("Get-ScheduledTask", "TaskPath", "TaskName")
def _get_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    name = text(p.get("taskname"))
    if not name.endswith("*"):
        return [_task(m, p).shown()]
    start = f"{text(p.get('taskpath', chr(92)))}{name[:-1]}".lower()
    return [task.shown() for key, task in sorted(m.scheduler.tasks.items()) if key.startswith(start)]


@cmdlet("Export-ScheduledTask", "TaskPath", "TaskName")
def _export_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    return [_task(m, p).xml]


@cmdlet("Register-ScheduledTask", "TaskPath", "TaskName", "Xml", "Force")
def _register(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    if not p.get("force") and f"{p['taskpath']}{p['taskname']}".lower() in m.scheduler.tasks:
        raise ThrownError("Cannot create a file when that file already exists.")
    return [m.scheduler.register(text(p["taskpath"]), text(p["taskname"]), text(p["xml"])).shown()]


@cmdlet("Unregister-ScheduledTask", "TaskPath", "TaskName", "Confirm")
def _unregister(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    if truth(p.get("confirm", True)):
        raise NotModelledError("Unregister-ScheduledTask would ask")
    m.scheduler.unregister(_task(m, p))
    return []


@cmdlet("Start-ScheduledTask", "TaskPath", "TaskName")
def _start_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    m.scheduler.start(_task(m, p))
    return []


@cmdlet("Stop-ScheduledTask", "TaskPath", "TaskName")
def _stop_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    m.scheduler.end(_task(m, p))
    return []


@cmdlet("Disable-ScheduledTask", "TaskPath", "TaskName")
def _disable_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    _task(m, p).enabled = False
    return []


@cmdlet("Enable-ScheduledTask", "TaskPath", "TaskName")
def _enable_task(m: Machine, i: Interpreter, p: dict[str, Any], rest: list[Any], piped: Any) -> list[Any]:
    _task(m, p).enabled = True
    return []
