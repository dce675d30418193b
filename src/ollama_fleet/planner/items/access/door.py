"""The front door as an item: the proxy's files, its unit, and that what runs is what stands in the files."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.items.access.places import ALL, CONFIGS, DUE, STATE, UNIT, UNIT_NAME, USER
from ollama_fleet.planner.items.text_file import WantedFile
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedAccess:
    """A proxy that listens on `address`:`port` and works by these files."""

    files: tuple[WantedFile, ...]
    scheme: str
    address: str
    port: int
    token: SecretStr | None = None
    """One that a client has, for the proof from outside."""
    prefix: str = ""
    """What stands before the paths of the first server behind it."""
    package: str = "caddy"
    """The distribution's, that brings the proxy."""
    certified: tuple[str, ...] = ()
    """Names for which an ACME authority gives certificates; which it shows at a time is no difference."""
    roots: str | None = None
    """What these certificates lead to, in PEM; None for the roots of each system."""
    kind: str = "access"
    name: str = "front door"

    @property
    def unwanted(self) -> tuple[str, ...]:
        """Files of an earlier door that this one does without."""
        return tuple(path for path in ALL if path not in {file.path for file in self.files})

    def restarts(self, state: HostState) -> bool:
        """Whether the proxy must be started; else a reload will do, which breaks no stream."""
        unit = next(file for file in self.files if file.path == UNIT)
        return state.door.active != "active" or bool(unit.differences(state)) or state.door.needs_reload

    def altered(self, state: HostState) -> tuple[WantedFile, ...]:
        """Files that are not as wanted."""
        return tuple(file for file in self.files if file.differences(state))

    def differences(self, state: HostState) -> list[Difference]:
        """Compare package, user and unit; the files are items of their own."""
        there = state.door
        found = compare("package", self.package, self.package if self.package in there.programs else None)
        found += compare("user", USER, USER if there.user else None)
        if there.load == "masked" or there.enabled == "masked":
            found.append(Difference("unit", "loaded", "masked"))
        else:
            found += compare("enabled", "enabled", there.enabled or "absent")
        found += compare("running", "active", there.active)
        found += [
            Difference(f"file {path}", "absent", "present") for path in self.unwanted if path in state.files
        ]
        if not self.altered(state):
            if there.needs_reload:
                found.append(Difference("unit", "as on disk", "stale in systemd"))
            elif DUE in state.files:
                found.append(Difference("reload", "done", "still due, a run was cut off before it"))
        return found


@dataclass(frozen=True, slots=True)
class NoAccess:
    """No front door: what an earlier one has left goes."""

    files: tuple[WantedFile, ...] = ()
    kind: str = "access"
    name: str = "front door"

    def differences(self, state: HostState) -> list[Difference]:
        """Look for anything of ours; the package stays, as others may use it."""
        found = [
            Difference(f"file {path}", "absent", "present") for path in (*ALL, STATE) if path in state.files
        ]
        if state.door.user:
            found.append(Difference("user", "absent", USER))
        if state.door.active == "active":
            found.append(Difference(UNIT_NAME, "stopped", "running"))
        return found


def listens_on(state: HostState) -> int | None:
    """The port of the door that is there; None where there is none."""
    for path in CONFIGS:
        there = state.files.get(path)
        first = (there.content or b"").partition(b"\n")[0] if there else b""
        port = first.rpartition(b"port ")[2]
        if port.isdigit():
            return int(port)
    return None
