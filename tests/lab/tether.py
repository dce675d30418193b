"""The starter's end of a lab's keeper: while it is held, the lab lives. See keeper.py for the other end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import cleanup
from .process import LabError
from .slot import Slot, all_slots


@dataclass
class Tether:
    """A slot, and the keeper process that guards it."""

    slot: Slot
    process: subprocess.Popen[str]

    def keep(self) -> None:
        """Let the lab outlive this process."""
        pipe = self.process.stdin
        assert pipe is not None
        pipe.write("keep\n")
        pipe.flush()

    def release(self) -> str:
        """End the lab and wait until all is gone; returns the keeper's complaint, empty where it has none."""
        assert self.process.stdin is not None
        if self.process.stdin.closed:
            return ""
        said, _ = self.process.communicate()
        return said.strip() if self.process.returncode == 1 else ""


def take_slot() -> Tether:
    """Start a keeper on the first free slot. Raises LabError where all are taken or cannot be cleaned."""
    for slot in all_slots():
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.keeper", str(slot.number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=Path(__file__).parents[1],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "OLLAMA_FLEET_LAB_RUN": str(slot.directory.parent),
            },
        )
        tether = Tether(slot, process)
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if said == "ready":
            return tether
        complaint = tether.release() or said
        if complaint:
            raise LabError(complaint)
    raise LabError(f"all {len(all_slots())} labs of this machine are in use; see `python -m lab status`")


def sweep() -> list[int]:
    """Remove what dead labs left on this machine; returns their slot numbers."""
    swept = []
    for slot in all_slots():
        if not cleanup.remnants(slot):
            continue
        lock = slot.lock()
        if lock is None:
            continue
        try:
            cleanup.remove(slot)
            swept.append(slot.number)
        finally:
            os.close(lock)
    return swept
