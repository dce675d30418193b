"""Processes, and scheduled tasks: registered by Wine's schtasks, run by a stand-in."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from windows.values import NotModelledError, PsEnum, PsObject
from windows.wine import Wine

SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
PATIENCE = 20
"""Seconds for Wine's schtasks, which needs Wine's RPC service."""
SHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
STATES = {"Disabled": 1, "Ready": 3, "Running": 4}


@dataclass
class Process:
    """A process of the host; one that does nothing has no `real`."""

    pid: int
    image: str
    arguments: str
    real: subprocess.Popen[bytes] | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    code: int = 0
    port: int = 0
    """Where it listens, if it is a server."""
    parent: int = 0
    """The process that has started it; 0 for one that a session has."""

    @property
    def alive(self) -> bool:
        if self.real is not None and self.real.poll() is not None:
            self.code = self.real.returncode & 0xFFFF
            self.ended.set()
        return not self.ended.is_set()

    @property
    def name(self) -> str:
        return self.image.rpartition("\\")[2]

    def kill(self) -> None:
        if self.real is not None and self.real.poll() is None:
            self.real.send_signal(signal.SIGKILL)
            self.real.wait()
        self.ended.set()


class Processes:
    """What runs on the host."""

    def __init__(self, wine: Wine) -> None:
        self.wine = wine
        self.all: list[Process] = []
        self._numbers = itertools.count(1000, 4)

    def shell(self, arguments: str, ended: threading.Event) -> Process:
        """The PowerShell that a task runs, until `ended` is set."""
        process = Process(next(self._numbers), SHELL, arguments, ended=ended)
        self.all.append(process)
        return process

    def start(
        self, image: str, arguments: str, environment: dict[str, str], log: Path | None, parent: int = 0
    ) -> Process:
        """Start a program: the stand-in for Ollama runs, what calls itself idle does nothing; others fail."""
        path = self.wine.path(image)
        head = path.read_bytes()[:64]
        if head.startswith(b"idle"):
            process = Process(next(self._numbers), image, arguments)
        elif head.startswith(b"#!") and b"python" in head:
            out = log.open("wb") if log else subprocess.DEVNULL
            real = subprocess.Popen(
                [sys.executable, str(path), *arguments.split()],
                env=self.unix(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.wine.prefix,
            )
            port = int(environment.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")[2])
            process = Process(next(self._numbers), image, arguments, real, port=port)
        else:
            raise NotModelledError(f"a process of {image}")
        process.parent = parent
        self.all.append(process)
        return process

    def unix(self, environment: dict[str, str]) -> dict[str, str]:
        """An environment for a process of this machine: its models lie where the drive letter leads."""
        given = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.wine.path("C:\\Windows\\Temp"))}
        given.update(environment)
        if environment.get("OLLAMA_MODELS"):
            given["OLLAMA_MODELS"] = str(self.wine.path(environment["OLLAMA_MODELS"]))
        return given

    def running(self) -> list[Process]:
        return [process for process in self.all if process.alive]

    def stop(self) -> None:
        for process in self.running():
            process.kill()


@dataclass
class Task:
    """A registered task."""

    path: str
    name: str
    xml: str
    enabled: bool = True
    run: threading.Event | None = None
    """Set when the present run is to end; None while it does not run."""

    def text(self, tag: str) -> str | None:
        found = ElementTree.fromstring(self.xml.split("?>", 1)[-1]).find(f".//{SPACE}{tag}")
        return None if found is None else (found.text or "")

    def has(self, tag: str) -> bool:
        return self.text(tag) is not None

    @property
    def script(self) -> str:
        """The file that its only action gives to PowerShell."""
        found = re.search(r'-File "([^"]+)"$', self.text("Arguments") or "")
        if not (self.text("Command") or "").lower().endswith("powershell.exe") or not found:
            raise NotModelledError("a task that runs anything but a PowerShell file")
        return found[1]

    def shown(self) -> PsObject:
        """As Get-ScheduledTask gives it."""
        word = "Disabled" if not self.enabled else "Running" if self.run else "Ready"
        trigger = "MSFT_TaskBootTrigger" if self.has("BootTrigger") else "MSFT_TaskTrigger"
        user = self.text("UserId")
        cim = PsObject("CimClass", {"CimClassName": trigger})
        return PsObject(
            "MSFT_ScheduledTask",
            {
                "TaskName": self.name,
                "TaskPath": self.path,
                "State": PsEnum(word, STATES[word]),
                "Actions": [
                    PsObject(
                        "MSFT_TaskExecAction",
                        {"Execute": self.text("Command"), "Arguments": self.text("Arguments")},
                    )
                ],
                "Triggers": [PsObject(trigger, {"CimClass": cim})],
                "Principal": PsObject(
                    "MSFT_TaskPrincipal2", {"UserId": "SYSTEM" if user == "S-1-5-18" else user}
                ),
                "Settings": PsObject(
                    "MSFT_TaskSettings3",
                    {
                        "Enabled": self.enabled,
                        "ExecutionTimeLimit": self.text("ExecutionTimeLimit") or "PT72H",
                        "Priority": int(self.text("Priority") or 7),
                        "DisallowStartIfOnBatteries": self.text("DisallowStartIfOnBatteries") != "false",
                        "StopIfGoingOnBatteries": self.text("StopIfGoingOnBatteries") != "false",
                        "RestartCount": int(self.text("Count") or 0),
                    },
                ),
            },
        )


class Scheduler:
    """Task Scheduler."""

    def __init__(self, wine: Wine, processes: Processes, run_file: Callable[[str, Process], Any]) -> None:
        self.wine = wine
        self.processes = processes
        self.tasks: dict[str, Task] = {}
        self._run_file = run_file

    def register(self, path: str, name: str, xml: str) -> Task:
        """Have Wine's schtasks check and store the definition. Raises NotModelledError where it refuses."""
        where = self.wine.prefix / "drive_c/windows/temp/task.xml"
        where.write_bytes(xml.encode("utf-16"))
        words = ("/tn", f"{path}{name}", "/xml", "C:\\windows\\temp\\task.xml", "/f")
        try:
            code, out, err = self.wine.run("schtasks", "/create", *words, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            code, out, err = 0, b"", b""  # Wine's own services did not come up; the rest is not about them
        if code:
            raise NotModelledError(f"schtasks refuses the task: {code} {out!r} {err!r}")
        old = self.tasks.get(f"{path}{name}".lower())
        # Wine stores of a definition only what it knows; what was given is what Windows would show.
        task = Task(path, name, xml, run=old.run if old else None)
        task.enabled = task.text("Enabled") != "false"
        self.tasks[f"{path}{name}".lower()] = task
        return task

    def unregister(self, task: Task) -> None:
        self.wine.run("schtasks", "/delete", "/tn", f"{task.path}{task.name}", "/f")
        self.end(task)
        del self.tasks[f"{task.path}{task.name}".lower()]

    def start(self, task: Task) -> None:
        """Run it, unless it runs already: IgnoreNew."""
        if task.run is not None or not task.enabled:
            return
        ended = task.run = threading.Event()
        shell = self.processes.shell(task.text("Arguments") or "", ended)

        def run() -> None:
            try:
                self._run_file(task.script, shell)
            finally:
                ended.set()
                if task.run is ended:
                    task.run = None

        threading.Thread(target=run, daemon=True).start()

    def end(self, task: Task) -> None:
        """End the task's own process; those that it started live on."""
        if task.run is not None:
            task.run.set()
            task.run = None
