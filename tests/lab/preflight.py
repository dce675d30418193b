"""Can a lab run here? Tried with the real thing, because rights can be refused in many ways."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from . import cgroup, image
from .process import LabError, run, succeeds


def reason_against() -> str | None:
    """Why no lab can run here, in one line; None where it can. Leaves nothing behind."""
    if os.geteuid() != 0:
        return "the lab needs root"
    if not shutil.which("apt-get") and any(not shutil.which(tool) for tool in image.REQUIRED):
        return "the lab needs Debian's tools (mmdebstrap, systemd-nspawn) or apt-get to install them"
    if not cgroup.hierarchies():
        return "the lab needs a control group hierarchy of systemd (name=systemd or cgroup2)"
    name = f"oflabtry{os.getpid()}"
    return _try_network(name) or _try_overlay(name) or _try_cgroup(name)


def _try_network(name: str) -> str | None:
    if not shutil.which("ip"):
        return None  # comes with the tools that a lab installs; it looks again then
    try:
        run(["ip", "netns", "add", name])
        run(["ip", "-n", name, "link", "add", "try", "type", "bridge"])
        run(["ip", "-n", name, "link", "add", "name", "a", "type", "veth", "peer", "name", "b"])
        run(["ip", "-n", name, "addr", "add", "fd00:1ab::1/64", "dev", "a"])
    except LabError as error:
        return f"network namespaces, bridges or IPv6 are refused here: {_last_words(error)}"
    finally:
        succeeds(["ip", "netns", "del", name])
    return None


def _try_overlay(name: str) -> str | None:
    with tempfile.TemporaryDirectory(prefix=name) as directory:
        lower, disk, merged = (Path(directory, part) for part in ("lower", "disk", "merged"))
        for path in (lower, disk, merged):
            path.mkdir()
        try:
            run(["mount", "-t", "tmpfs", "tmpfs", str(disk)])
            (disk / "upper").mkdir()
            (disk / "work").mkdir()
            options = f"lowerdir={lower},upperdir={disk / 'upper'},workdir={disk / 'work'}"
            run(["mount", "-t", "overlay", "-o", options, "overlay", str(merged)])
        except LabError as error:
            return f"mounting an overlay is refused here: {_last_words(error)}"
        finally:
            succeeds(["umount", str(merged)])
            succeeds(["umount", str(disk)])
    return None


def _last_words(error: Exception) -> str:
    """The system's own reason, without the command and its temporary names: the same for every test skipped."""
    return str(error).strip().rpartition(": ")[2]


def _try_cgroup(name: str) -> str | None:
    try:
        cgroup.create(name)
    except (LabError, OSError) as error:
        return f"control groups cannot be made here: {_last_words(error)}"
    finally:
        for hierarchy in cgroup.hierarchies():
            cgroup.remove_tree(hierarchy / name)
    return None
