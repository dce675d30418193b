"""The names of one lab: everything it makes on this machine is called after its slot number.

So several labs live side by side, and whatever a dead one left behind can be found by name alone.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

RUN = Path(os.environ.get("OLLAMA_FLEET_LAB_RUN", "/run/ollama-fleet-lab"))
NETNS = Path("/run/netns")
COUNT = 16


@dataclass(frozen=True, slots=True)
class Slot:
    """Slot `number` (0 to COUNT - 1) and the paths and names that follow from it."""

    number: int

    @property
    def prefix(self) -> str:
        """What namespaces, cgroups and machine names of this lab begin with, `-NAME` following."""
        return f"oflab{self.number}"

    @property
    def directory(self) -> Path:
        """Where the lab keeps its state, keys, disks and logs."""
        return RUN / str(self.number)

    @property
    def lock_path(self) -> Path:
        """Locked by the lab's keeper for as long as the lab lives."""
        return RUN / f"{self.number}.lock"

    @property
    def keeper_path(self) -> Path:
        """Process id of the lab's keeper."""
        return self.directory / "keeper.pid"

    @property
    def kept_path(self) -> Path:
        """Exists where the lab is meant to outlive the process that started it."""
        return self.directory / "kept"

    @property
    def controller_interface(self) -> str:
        """The one interface a lab adds to the machine's own network namespace."""
        return self.prefix

    def netns(self, name: str) -> str:
        """Name of the network namespace of `name`, as `ip netns` knows it."""
        return f"{self.prefix}-{name}"

    def netns_path(self, name: str) -> Path:
        return NETNS / self.netns(name)

    def lock(self) -> int | None:
        """Take the slot's lock: a file descriptor to keep open, or None where a living lab holds it."""
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def all_slots() -> list[Slot]:
    """Every slot there can be, used or not."""
    return [Slot(number) for number in range(COUNT)]
