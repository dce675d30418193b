"""The running service: enabled, up, and working with the environment it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import SecretStr

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.ollama_host import port_of
from ollama_fleet.planner.state import HostState, Platform

Manager = Literal["systemd", "systemd-user", "supervisor", "task"]

DELETED = " (deleted)"
"""What the kernel adds to the name of a program whose file is gone, or has been replaced by another."""


def manager_of(platform: Platform, layout: Layout) -> Manager:
    """Who keeps the server running: the system's systemd, the account's, or a script of ours.

    An account's systemd is of use only if it outlives the login: with lingering on, or where polkit is
    there to grant it.
    """
    if layout.scope == "windows":
        return "task"
    if layout.scope == "system":
        return "systemd"
    if platform.user_manager and (platform.lingering or platform.polkit):
        return "systemd-user"
    return "supervisor"


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WantedService:
    """`ollama.service`, enabled and running with exactly these variables among its environment."""

    layout: Layout
    manager: Manager
    environment: Mapping[str, str]
    """Variables whose values anybody may see."""
    secrets: Mapping[str, SecretStr]
    restart_because: tuple[str, ...] = field(default=())
    """Items the server reads that are about to change."""
    kind: str = "service"

    @property
    def name(self) -> str:
        """The unit, without its ending."""
        return self.layout.service.removesuffix(".service")

    def in_the_way(self, state: HostState) -> tuple[str, ...]:
        """Units of the system that run another Ollama on our port: they are stopped, and ours takes their place."""
        if self.manager != "systemd":
            return ()
        ours = port_of(self.environment.get("OLLAMA_HOST", ""))
        units = (other.unit for other in state.service.others if other.unit and port_of(other.listen) == ours)
        return tuple(dict.fromkeys(units))

    def needs_restart(self, state: HostState) -> bool:
        """Whether the process must be started anew: to be enabled at boot, or to linger, changes nothing for it."""
        of_process = {difference.aspect for difference in self.differences(state)} - {"enabled", "lingering"}
        return bool(of_process or self.restart_because)

    def differences(self, state: HostState) -> list[Difference]:
        """Compare what the service manager says and what the process was started with."""
        there = state.server(self.layout.instance)
        found = []
        if there.load == "masked" or there.enabled == "masked":
            found.append(Difference("unit", "loaded", "masked"))
        elif self.manager != "supervisor":
            found += compare("enabled", "enabled", there.enabled or "absent")
        if self.manager == "systemd-user":
            found += compare("lingering", True, state.platform.lingering)
            if there.load == "supervised":
                found.append(Difference("kept running by", "systemd", "a script"))
        found += [Difference(f"{unit} on its port", "stopped", "running") for unit in self.in_the_way(state)]
        # Where a file differs, that is the drift, and systemd's stale copy follows from it.
        if self.manager != "supervisor" and there.needs_reload and not self.restart_because:
            found.append(Difference("unit", "as on disk", "stale in systemd"))
        found += compare("running", "active", there.active)
        if there.active == "active" and there.runs_as:
            found += compare("runs as", self.layout.service_user, there.runs_as)
        found += self._of_process(state)
        return found

    def _of_process(self, state: HostState) -> list[Difference]:
        there = state.server(self.layout.instance)
        found: list[Difference] = []
        replaced = there.active == "active" and there.program.endswith(DELETED)
        if replaced and not self.restart_because:
            found.append(
                Difference("program", "as on disk", f"{there.program.removesuffix(DELETED)} of before")
            )
        elif self.layout.restart_due in state.files and not self.restart_because:
            found.append(Difference("restart", "done", "still due, a run was cut off before it"))
        if there.active == "active" and there.environment is not None:
            for key, value in self.environment.items():
                if there.environment_hashes.get(key) != _hash(value):
                    found += compare(f"{key} in effect", value, there.environment.get(key))
            for key, secret in self.secrets.items():
                if there.environment_hashes.get(key) != _hash(secret.get_secret_value()):
                    found.append(Difference(f"{key} in effect", "as referenced", "another value"))
        return found


@dataclass(frozen=True, slots=True)
class GoneService:
    """A server of ours that the host has no more: the only one where there are several now, or one of them."""

    layout: Layout
    """Of the instance that goes."""
    files: tuple[str, ...]
    """Files that go with it."""
    kind: str = "service"

    @property
    def name(self) -> str:
        """The unit, without its ending."""
        return self.layout.service.removesuffix(".service")

    def differences(self, state: HostState) -> list[Difference]:
        """Look for its unit and its files."""
        there = state.server(self.layout.instance)
        files = [path for path in self.files if path in state.files]
        found = []
        if there.active not in ("", "inactive", "failed"):
            found.append(Difference("running", "stopped", there.active))
        if there.enabled == "enabled":
            found.append(Difference("enabled", "disabled", there.enabled))
        return found + [Difference(f"file {path}", "absent", "present") for path in files]
