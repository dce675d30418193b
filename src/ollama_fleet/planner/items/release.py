"""An Ollama release: a directory per version, a link that chooses, the one before kept."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState

PACKAGE_MANAGERS = ("apt-get", "dnf", "zypper", "pacman", "apk")
"""Commands that can bring the package zstd, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of a release."""

    name: str
    """File name; its ending tells how to unpack it."""
    location: str
    """http(s) URL, or a path on the controller."""
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True)
class WantedRelease:
    """A version installed under `layout.releases`, in use, and behind the `ollama` command."""

    version: str
    archives: tuple[Archive, ...]
    layout: Layout
    kind: str = "release"

    @property
    def name(self) -> str:
        """Its version."""
        return self.version

    def adopted(self, state: HostState) -> bool:
        """Somebody else's installation of the wanted version is there and nothing of ours is."""
        foreign = state.release.foreign
        return foreign is not None and foreign.version == self.version and not state.release.versions

    def is_unpacked(self, state: HostState) -> bool:
        """The version's directory is complete, from these archives and, if in use, as it was unpacked."""
        installed = state.release.versions.get(self.version)
        if installed is None or not installed.stamp.startswith(self.stamp("")):
            return False
        return installed.evidence is None or installed.stamp == self.stamp(installed.evidence)

    def unpacks(self, state: HostState) -> bool:
        """Whether the archives can be unpacked there, or need not be: those of 0.14.0 and later need zstd."""
        if self.adopted(state) or self.is_unpacked(state):
            return True
        tools = state.platform.tools
        brought = state.platform.uid == 0 and any(name in tools for name in PACKAGE_MANAGERS)
        return brought or "zstd" in tools or not any(item.name.endswith(".zst") for item in self.archives)

    def stamp(self, evidence: str) -> str:
        """The line that marks a complete installation: what it came from and what it looked like."""
        return " ".join([*(archive.sha256 for archive in self.archives), evidence])

    def differences(self, state: HostState) -> list[Difference]:
        """Compare installed files, the link to the version in use, and the `ollama` command."""
        if self.adopted(state):
            return []
        found = self.of_files(state)
        if state.release.foreign is not None:
            found.append(
                Difference("command", self.layout.binary, f"{state.release.foreign.path} of somebody else")
            )
        else:
            found += compare("command", self.layout.binary, state.release.command_target)
        return found

    def of_files(self, state: HostState) -> list[Difference]:
        """Compare installed files and the version in use."""
        found = []
        installed = state.release.versions.get(self.version)
        if installed is None:
            found.append(Difference("version", self.version, "absent"))
        elif not self.is_unpacked(state):
            found.append(Difference("files", "as unpacked", "altered" if installed.stamp else "incomplete"))
        return [*found, *compare("in use", self.version, state.release.current)]
