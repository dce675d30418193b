"""The server on Windows: a scheduled task that starts it at boot, and the process behind it."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.items.service import GoneService, WantedService
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows import task

OF_PROCESS = frozenset({"running", "program", "environment"})


@dataclass(frozen=True, slots=True)
class WindowsService(WantedService):
    """The task `\\Fleet\\Ollama`, or that of an instance, enabled, and its server running from the script of now."""

    program: str = ""
    """The ollama.exe that must run."""
    script_hash: str = ""
    """sha256 of the script that sets the environment and starts it."""
    xml: str = ""
    """The task's definition, to be registered."""

    def needs_restart(self, state: HostState) -> bool:
        """Whether the process must be started anew."""
        aspects = {difference.aspect for difference in self.differences(state)}
        return bool(aspects & OF_PROCESS or self.restart_because)

    def needs_registration(self, state: HostState) -> bool:
        """Whether the task must be written."""
        return bool({difference.aspect for difference in self.differences(state)} - OF_PROCESS)

    def differences(self, state: HostState) -> list[Difference]:
        """Compare what Task Scheduler says, and what the process was started from."""
        instance = self.layout.instance
        there, windows = state.server(instance), state.windows
        registered = windows.task_of(instance) if windows else None
        found: list[Difference] = []
        if registered is None:
            found.append(Difference("task", "present", "absent"))
        else:
            wanted = task.definition(self.layout.environment)
            for aspect, value in wanted.items():
                found += compare(aspect, value, registered.definition.get(aspect))
            found += compare("enabled", True, registered.enabled)
        found += compare("running", "active", there.active)
        if there.active == "active" and not self.restart_because:
            if there.program.casefold() != self.program.casefold():
                found.append(Difference("program", self.program, there.program or "unknown"))
            elif windows is None or windows.started_by(instance) != self.script_hash:
                script = self.layout.environment.rpartition("\\")[2]
                found.append(Difference("environment", f"as in {script}", "another"))
        return found


@dataclass(frozen=True, slots=True)
class WindowsGoneService(GoneService):
    """A task of ours that the host has no more, with its server."""

    def differences(self, state: HostState) -> list[Difference]:
        """Look for the task, its server and its files; a server that somebody has started counts as the only one."""
        instance, windows = self.layout.instance, state.windows
        found = []
        if windows is not None and windows.task_of(instance) is not None:
            found.append(Difference("task", "absent", "present"))
        if (active := state.server(instance).active) == "active":
            found.append(Difference("running", "stopped", active))
        return found + [
            Difference(f"file {path}", "absent", "present") for path in self.files if path in state.files
        ]
