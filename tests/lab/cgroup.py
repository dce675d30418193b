"""A control group per host, in every hierarchy that systemd uses (name=systemd of v1, the unified one of v2).

A booted container wants a group of its own below which it makes its slices. The same groups tell the clean-up
which processes belong to a lab.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from .process import LabError


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies that a booted systemd takes its groups from."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(" ")[-1].split(",")):
            found.append(Path(left.split()[4]))
    return found


def create(name: str) -> list[Path]:
    """Make the group in each hierarchy and return the `cgroup.procs` files to enter it by."""
    entries = []
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        entries.append(group / "cgroup.procs")
    if not entries:
        raise LabError("no control group hierarchy of systemd (name=systemd or cgroup2) is mounted")
    return entries


def directories(prefix: str) -> list[Path]:
    """The top groups of a lab: those called `PREFIX-NAME`."""
    return [group for hierarchy in hierarchies() for group in hierarchy.glob(f"{prefix}-*") if group.is_dir()]


def processes(prefix: str) -> set[int]:
    """Ids of the processes in all groups called `PREFIX-NAME` and below."""
    found: set[int] = set()
    for group in directories(prefix):
        for procs in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
            with suppress(OSError):
                found.update(int(pid) for pid in procs.read_text().split() if pid != "0")
    return found


def remove(prefix: str) -> None:
    """Remove the groups called `PREFIX-NAME`, which must be empty of processes. Gone already is no error."""
    for group in directories(prefix):
        remove_tree(group)


def remove_tree(group: Path) -> None:
    """Remove one group and those below; waits up to two seconds for the kernel to let go of them."""
    deadline = time.monotonic() + 2
    while group.exists():
        below = sorted(
            (path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)
        )
        for path in [*below, group]:
            with suppress(OSError):
                path.rmdir()
        if group.exists():
            if time.monotonic() > deadline:
                raise LabError(f"control group {group} is not empty")
            time.sleep(0.02)
