"""The host: drives, registry, firewall, tasks, and the cmdlets and programs that scripts reach them by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from windows import cmdlets, dotnet, programs
from windows.firewall import Firewall
from windows.powershell import Input, Interpreter
from windows.tasks import Process, Processes, Scheduler
from windows.values import NotModelledError, PsObject, ThrownError, text
from windows.wine import Wine

ENVIRONMENT = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment"
USER = "fleet"
HOME = f"C:\\Users\\{USER}"


class Machine:
    """All state of a host."""

    def __init__(self, wine: Wine, gpus: Path) -> None:
        self.wine = wine
        self.gpus = gpus
        """What `nvidia-smi` answers from, see programs.py; no such file, no such program."""
        self.firewall = Firewall()
        self.processes = Processes(wine)
        self.scheduler = Scheduler(wine, self.processes, self._run_task)
        self.variables: dict[str, str] | None = None
        self.guard = threading.RLock()
        self.missing: list[str] = []
        """What scripts asked for that the stand-in does not know; a test fails on any."""
        wine.path(HOME).mkdir(parents=True, exist_ok=True)

    def interpreter(
        self,
        stdin: Input,
        error: Callable[[str], None],
        shell: Process | None = None,
    ) -> Interpreter:
        """A PowerShell process with the environment of a fresh session."""
        made = Interpreter(self, stdin, error)
        made.environment = {**self.machine_variables(), **self._session()}
        made.variables["__shell"] = shell
        return made

    def _session(self) -> dict[str, str]:
        return {
            "PROCESSOR_ARCHITECTURE": "AMD64",
            "USERPROFILE": HOME,
            "ProgramFiles": "C:\\Program Files",
            "ProgramData": "C:\\ProgramData",
            "SystemRoot": "C:\\Windows",
        }

    def _run_task(self, path: str, shell: Process) -> None:
        script = self.wine.path(path).read_bytes().decode("utf-8-sig")
        interpreter = self.interpreter(StringIO(), self.missing.append, shell)
        interpreter.variables["pscommandpath"] = path
        try:
            interpreter.run(script)
        except (ThrownError, NotModelledError, SyntaxError) as error:
            self.missing.append(f"{path}: {type(error).__name__}: {error}")

    def machine_variables(self) -> dict[str, str]:
        """The system's variables out of Wine's registry, read anew once something of Wine's has run."""
        if self.variables is not None:
            return self.variables
        out = self.wine.prefix / "drive_c/windows/temp/environment.reg"
        with self.guard:
            code, _, error = self.wine.run(
                "reg", "export", ENVIRONMENT, "C:\\windows\\temp\\environment.reg", "/y"
            )
            if code:
                raise NotModelledError(f"reg export fails: {error!r}")
            exported = out.read_bytes().decode("utf-16")
        found = {}
        for line in exported.splitlines():
            if line.startswith('"') and '"="' in line:
                name, _, value = line[1:-1].partition('"="')
                found[name] = value.replace('\\"', '"').replace("\\\\", "\\")
        self.variables = found
        return found

    def set_machine_variable(self, name: str, value: str | None) -> None:
        """As [Environment]::SetEnvironmentVariable with Machine does; an empty value removes."""
        if value:
            arguments = ["reg", "add", ENVIRONMENT, "/v", name, "/t", "REG_SZ", "/d", value, "/f"]
        elif name in self.machine_variables():
            arguments = ["reg", "delete", ENVIRONMENT, "/v", name, "/f"]
        else:
            return
        self.variables = None
        code, _, error = self.wine.run(*arguments)
        if code:
            raise NotModelledError(f"{arguments[:2]} fails: {error!r}")

    def command(
        self,
        interpreter: Interpreter,
        name: str,
        parameters: dict[str, Any],
        positional: list[Any],
        piped: Any,
    ) -> list[Any]:
        """Run a cmdlet, or a program."""
        low = name.lower()
        known = cmdlets.KNOWN.get(low)
        if known is not None:
            function, allowed = known
            unknown = set(parameters) - allowed - {"erroraction"}
            if unknown or (positional and low not in cmdlets.POSITIONAL):
                raise NotModelledError(f"{name} with {sorted(unknown) or positional}")
            quiet = text(parameters.get("erroraction")).lower() == "silentlycontinue"
            try:
                return function(self, interpreter, parameters, positional, piped)
            except ThrownError:
                if quiet:
                    return []
                raise
        return programs.run(self, interpreter, name, parameters, positional)

    def static(self, interpreter: Interpreter, kind: str, name: str, arguments: list[Any] | None) -> Any:
        """A static member of a .NET class."""
        key = f"{kind.lower().removeprefix('system.')}.{name.lower()}"
        member = dotnet.KNOWN.get(key)
        if member is None:
            raise NotModelledError(f"[{kind}]::{name}")
        return member(self, interpreter, *(arguments or []))

    def construct(self, kind: str, arguments: list[Any]) -> Any:
        """New-Object."""
        made = dotnet.CONSTRUCTORS.get(kind.lower().removeprefix("system."))
        if made is None:
            raise NotModelledError(f"New-Object {kind}")
        return made(*arguments)

    def reboot(self) -> None:
        """What runs ends; tasks with a boot trigger start."""
        for task in self.scheduler.tasks.values():
            self.scheduler.end(task)
        self.processes.stop()
        for task in self.scheduler.tasks.values():
            if task.has("BootTrigger"):
                self.scheduler.start(task)

    def stop(self) -> None:
        self.processes.stop()
        self.wine.stop()

    def file(self, path: str) -> Path:
        """A path of a script. Raises ThrownError for what Windows would not take."""
        try:
            return self.wine.path(path)
        except ValueError as error:
            raise ThrownError(f"The given path's format is not supported: {error}") from None


def item(path: str, there: Path) -> PsObject:
    """A FileInfo or DirectoryInfo."""
    is_folder = there.is_dir()
    stat = there.stat()
    properties: dict[str, Any] = {
        "FullName": path,
        "Name": path.rstrip("\\").rpartition("\\")[2],
        "PSIsContainer": is_folder,
        "LastWriteTimeUtc": PsObject("DateTime", {"Ticks": stat.st_mtime_ns // 100}),
    }
    if not is_folder:
        properties["Length"] = stat.st_size
    return PsObject("FileInfo", properties)
