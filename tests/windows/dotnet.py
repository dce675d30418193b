"""The static members and classes of .NET that the stand-in knows."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import shutil
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windows.values import NotModelledError, PsObject, ThrownError, each, text

if TYPE_CHECKING:
    from windows.machine import Machine
    from windows.powershell import Interpreter


def _get_variable(m: Machine, i: Interpreter, name: str, target: str = "Process") -> str | None:
    if target == "Machine":
        found = {key.lower(): value for key, value in m.machine_variables().items()}
    elif target == "Process":
        found = {key.lower(): value for key, value in i.environment.items()}
    else:
        raise NotModelledError(f"variables of {target}")
    return found.get(name.lower())


def _get_variables(m: Machine, i: Interpreter, target: str) -> PsObject:
    if target != "Machine":
        raise NotModelledError(f"variables of {target}")
    found = m.machine_variables()
    return PsObject("Hashtable", {"Keys": list(found), **found})


def _set_variable(m: Machine, i: Interpreter, name: str, value: Any, target: str = "Process") -> None:
    if target == "Machine":
        m.set_machine_variable(name, None if value is None else text(value))
    elif target == "Process":
        i.environment[name] = text(value)
    else:
        raise NotModelledError(f"variables of {target}")


def _write(m: Machine, i: Interpreter, path: str, content: bytes) -> None:
    there = m.file(path)
    if not there.parent.is_dir():
        raise ThrownError(f"Could not find a part of the path '{path}'.")
    there.write_bytes(content)


def _read(m: Machine, i: Interpreter, path: str) -> bytes:
    there = m.file(path)
    if not there.is_file():
        raise ThrownError(f"Could not find file '{path}'.")
    return there.read_bytes()


def _copy(m: Machine, i: Interpreter, source: str, target: str, over: bool = False) -> None:
    there = m.file(target)
    if not m.file(source).is_file() or not there.parent.is_dir():
        raise ThrownError(f"Could not find a part of the path '{source}' or '{target}'.")
    if there.exists() and not over:
        raise ThrownError(f"The file '{target}' already exists.")
    shutil.copy2(m.file(source), there)


def _make_directory(m: Machine, i: Interpreter, path: str) -> PsObject:
    there = m.file(path)
    if not m.file(path[:3]).is_dir():
        raise ThrownError(f"Could not find a part of the path '{path}'.")
    there.mkdir(parents=True, exist_ok=True)
    return PsObject("DirectoryInfo", {"FullName": path})


def _open_alone(m: Machine, i: Interpreter, path: str, mode: str, access: str, share: str) -> PsObject:
    if (mode, access, share) == ("Open", "Read", "ReadWrite"):
        reading = m.file(path).open("rb")
        i.files.append(reading)
        methods = {"Seek": lambda start, origin: reading.seek(start)}
        stream = PsObject("FileStream", {"Length": m.file(path).stat().st_size}, methods)
        stream.methods["__file"] = reading
        return stream
    if (mode, access, share) != ("OpenOrCreate", "ReadWrite", "None"):
        raise NotModelledError("a file opened otherwise than for oneself")
    file = m.file(path).open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ThrownError(
            "The process cannot access the file because it is being used by another process."
        ) from None
    i.files.append(file)
    return PsObject("FileStream", {}, {"Close": file.close, "Dispose": file.close})


def _sort(m: Machine, i: Interpreter, values: list[Any], comparer: Any) -> None:
    if comparer != "Ordinal":
        raise NotModelledError("another order")
    values.sort()


def _sha256(m: Machine, i: Interpreter) -> PsObject:
    return PsObject("SHA256", {}, {"ComputeHash": lambda data: hashlib.sha256(data).digest()})


def _identity(m: Machine, i: Interpreter) -> PsObject:
    return PsObject("WindowsIdentity", {"Name": "DESK-7\\fleet"})


def _principal(identity: PsObject) -> PsObject:
    return PsObject("WindowsPrincipal", {}, {"IsInRole": lambda role: role == "Administrator"})


def _utf8(m: Machine, i: Interpreter) -> PsObject:
    methods = {"GetBytes": lambda value: text(value).encode(), "GetString": lambda data: data.decode()}
    return PsObject("UTF8Encoding", {}, methods)


def _console_error(m: Machine, i: Interpreter) -> PsObject:
    return PsObject("TextWriter", {}, {"WriteLine": lambda value: i.write_error(text(value))})


def _console_in(m: Machine, i: Interpreter) -> PsObject:
    def line() -> str:
        return (i.stdin.readline() or "").rstrip("\r\n")

    return PsObject("TextReader", {}, {"ReadToEnd": i.stdin.read, "ReadLine": line})


def _block(m: Machine, i: Interpreter, script: str) -> Any:
    from windows.powershell import Block, parse

    i.told(script)
    return Block(parse(script))


def _addresses(m: Machine, i: Interpreter, name: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None)]
    except OSError as error:
        raise ThrownError("No such host is known") from error


def _console_out(m: Machine, i: Interpreter) -> PsObject:
    def write(value: Any) -> None:
        i.variables["__out"](text(value))

    return PsObject("TextWriter", {}, {"WriteLine": write, "Flush": lambda: None})


KNOWN: dict[str, Callable[..., Any]] = {
    "console.error": _console_error,
    "console.in": _console_in,
    "console.out": _console_out,
    "console.outputencoding": lambda m, i, *value: None,
    "convert.tobase64string": lambda m, i, data: base64.b64encode(data).decode(),
    "convert.frombase64string": lambda m, i, value: base64.b64decode(value, validate=True),
    "text.encoding.utf8": _utf8,
    "io.file.writeallbytes": _write,
    "io.file.readallbytes": _read,
    "io.file.copy": _copy,
    "io.file.exists": lambda m, i, path: m.file(path).is_file(),
    "io.file.open": _open_alone,
    "io.directory.createdirectory": _make_directory,
    "environment.getenvironmentvariable": _get_variable,
    "environment.getenvironmentvariables": _get_variables,
    "environment.setenvironmentvariable": _set_variable,
    "array.sort": _sort,
    "stringcomparer.ordinal": lambda m, i: "Ordinal",
    "security.cryptography.sha256.create": _sha256,
    "security.principal.windowsidentity.getcurrent": _identity,
    "security.principal.windowsbuiltinrole.administrator": lambda m, i: "Administrator",
    "bitconverter.tostring": lambda m, i, data: "-".join(f"{byte:02X}" for byte in data),
    "scriptblock.create": _block,
    "net.dns.gethostaddresses": _addresses,
    "string.join": lambda m, i, glue, values: glue.join(map(text, each(values))),
}


def _reader(stream: PsObject) -> PsObject:
    file = stream.methods["__file"]
    methods = {"ReadToEnd": lambda: file.read().decode(errors="replace"), "Close": file.close}
    return PsObject("StreamReader", {}, methods)


def _now(m: Machine, i: Interpreter) -> PsObject:
    return PsObject("DateTimeOffset", {}, {"ToUnixTimeSeconds": lambda: int(time.time())})


KNOWN["datetimeoffset.utcnow"] = _now
CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "security.principal.windowsprincipal": _principal,
    "io.streamreader": _reader,
    "text.utf8encoding": lambda mark: PsObject("UTF8Encoding", {}),
}
