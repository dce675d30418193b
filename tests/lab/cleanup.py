"""Removing a lab by its slot's name alone: processes, mounts, namespaces, control groups, files.

Needs no record of what was made, so it removes as well what a lab was in the middle of making when it was
killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from . import cgroup
from .process import LabError, run, succeeds
from .slot import NETNS, Slot

_NSPAWN = Path("/run/systemd/nspawn")


def remove(slot: Slot) -> None:
    """Remove everything that carries the slot's name. Nothing there is no error.

    Raises LabError where something will not go away.
    """
    _kill(slot)
    succeeds(["ip", "link", "del", slot.controller_interface])
    _unlock_trees(slot)
    _unmount(slot.directory)
    for path in NETNS.glob(f"{slot.prefix}-*"):
        run(["ip", "netns", "del", path.name])
    cgroup.remove(slot.prefix)
    for path in list(_NSPAWN.glob(f"propagate/{slot.prefix}-*")):
        with suppress(OSError):
            path.rmdir()
    shutil.rmtree(slot.directory, ignore_errors=True)


def remnants(slot: Slot) -> list[str]:
    """What there still is of a lab, for people to read; empty when nothing is left."""
    found = [f"process {pid}" for pid in _processes(slot)]
    found += [f"mount {path}" for path in _mounts(slot.directory)]
    found += [f"namespace {path.name}" for path in NETNS.glob(f"{slot.prefix}-*")]
    found += [f"control group {path}" for path in cgroup.directories(slot.prefix)]
    if any(name == slot.controller_interface for _, name in socket.if_nameindex()):
        found.append(f"interface {slot.controller_interface}")
    if slot.directory.exists():
        found.append(f"directory {slot.directory}")
    return found


def _kill(slot: Slot) -> None:
    deadline = time.monotonic() + 20
    while pids := _processes(slot):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"processes of lab {slot.number} will not die: {sorted(pids)}")
        time.sleep(0.02)


def _processes(slot: Slot) -> set[int]:
    """Processes in the lab's control groups or in one of its network namespaces, except this one."""
    namespaces = set()
    for path in NETNS.glob(f"{slot.prefix}-*"):
        with suppress(OSError):
            namespaces.add(path.stat().st_ino)
    found = cgroup.processes(slot.prefix)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "ns/net").stat().st_ino in namespaces:
                    found.add(int(entry.name))
    return {pid for pid in found if pid != os.getpid() and _alive(pid)}


def _alive(pid: int) -> bool:
    """False for a zombie as well: it holds nothing and is its parent's to collect."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _mounts(directory: Path) -> list[str]:
    """Mount points under `directory`, innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        point = line.split()[4].replace("\\040", " ")
        if point == str(directory) or point.startswith(f"{directory}/"):
            points.append(point)
    return points[::-1]


def _unlock_trees(slot: Slot) -> None:
    """Delete the lock files of killed nspawn processes, which are named after the inode of the tree."""
    for root in slot.directory.glob("hosts/*/root"):
        status = root.stat()
        (_NSPAWN / "locks" / f"inode-{status.st_dev}:{status.st_ino}").unlink(missing_ok=True)


def _unmount(directory: Path) -> None:
    for point in _mounts(directory):
        # Lazily where it is busy: a stray reader must not keep the rest of the clean-up from happening.
        if not succeeds(["umount", point]):
            run(["umount", "--lazy", point])
