"""What the probe finds on a Windows host and on no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.planner.firewall_state import FirewallState


@dataclass(frozen=True, slots=True)
class TaskState:
    """The scheduled task that runs the server, as Task Scheduler shows it."""

    enabled: bool
    running: bool
    definition: Mapping[str, str]
    """What `task.DEFINITION` names, in its words."""


@dataclass(frozen=True, slots=True)
class SetupInstall:
    """An Ollama that OllamaSetup.exe (or winget, which runs it) has installed for one user."""

    program: str
    """Its ollama.exe."""
    version: str | None
    startup_link: str | None
    """What starts the tray app when the user logs in."""
    settings: bool
    """The tray app has a database of settings, which override the environment."""


@dataclass(frozen=True, slots=True)
class WindowsState:
    """Beside what every host has."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """The system's variables whose names begin with OLLAMA_."""
    task: TaskState | None = None
    """That of the only server."""
    started_from: str = ""
    """sha256 of the script that the running server was started by."""
    tasks: Mapping[str, TaskState] = field(default_factory=dict)
    """Those of several servers, by their names."""
    several_from: Mapping[str, str] = field(default_factory=dict)
    """As `started_from`, of each of several servers by its name."""
    setups: tuple[SetupInstall, ...] = ()
    tray_apps: int = 0
    """Running tray apps."""

    def task_of(self, instance: str) -> TaskState | None:
        """The task of an instance; for no name that of the only server."""
        return self.tasks.get(instance) if instance else self.task

    def started_by(self, instance: str) -> str:
        """sha256 of the script that the server of an instance was started by."""
        return self.several_from.get(instance, "") if instance else self.started_from


@dataclass(frozen=True, slots=True)
class WindowsRule:
    """One inbound rule of Windows Defender Firewall about a TCP port, or about ollama.exe."""

    name: str
    display: str
    description: str
    allows: bool
    """False for a Block rule, which beats every other."""
    enabled: bool
    profiles: frozenset[str]
    ports: tuple[str, ...]
    """As written: `11434`, `8000-9000`, `Any`."""
    sources: tuple[str, ...]
    """As written, but networks in canonical form: `192.168.1.0/24`, `Any`, `LocalSubnet`."""
    program: str
    """`Any`, or the path that the rule is about."""


@dataclass(frozen=True, slots=True)
class WindowsFirewallState(FirewallState):
    """Windows Defender Firewall: `active` where some profile is switched on."""

    windows_rules: tuple[WindowsRule, ...] = ()
    local_rules: bool = True
    """False where a group policy lets no rule of the machine's own count."""
