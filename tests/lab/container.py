"""One booted Debian: an overlay on the base image, and the systemd-nspawn process that runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroup
from .process import LabError, run
from .slot import Slot

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
"""What a command inside sees; nothing of the caller's environment gets in."""
PROPAGATE = "/run/systemd/nspawn/propagate"


@dataclass
class Container:
    """The machine `name` of a lab: its disk, and its processes while it runs."""

    slot: Slot
    name: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    leader: int | None = None
    """Process id of the container's pid 1 in this machine's numbering; None while it is off."""

    @property
    def directory(self) -> Path:
        return self.slot.directory / "hosts" / self.name

    @property
    def root(self) -> Path:
        """The merged tree as mounted on this machine, without the container's own mounts (/run, /tmp)."""
        return self.directory / "root"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    def make_disk(self, tree: Path, size: str) -> None:
        """Mount an empty disk of `size` (as tmpfs takes it: `2G`, `50%`) over the read-only `tree`."""
        disk = self.directory / "disk"
        for directory in (disk, self.root):
            directory.mkdir(parents=True)
        # In memory: as fast as it gets, nothing to sync, and full when the test wants it full.
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(disk)])
        upper, work = disk / "upper", disk / "work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={tree},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", "-o", options, "overlay", str(self.root)])

    def remove_disk(self) -> None:
        """Give the disk's memory back; the container must be off."""
        run(["umount", str(self.root)])
        run(["umount", str(self.directory / "disk")])
        shutil.rmtree(self.directory)

    def boot(self) -> None:
        """Start it; returns as soon as its pid 1 exists, long before it has booted."""
        for attempts_left in (2, 1, 0):
            self.process = self._start_nspawn()
            try:
                self.leader = self._find_leader(self.process, timeout=20)
            except LabError:
                # Several starting at once can trip over the directory that they share in /run.
                if self.process.poll() is None or PROPAGATE not in self.said() or not attempts_left:
                    raise
            else:
                return

    def _start_nspawn(self) -> subprocess.Popen[bytes]:
        machine = f"{self.slot.prefix}-{self.name}"
        entries = cgroup.create(machine)
        # The shell enters the groups before nspawn starts, so nothing of the container is ever outside them.
        enter = "".join(f"echo $$ >{entry}; " for entry in entries)
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe",
            f"--directory={self.root}", f"--machine={machine}", f"--hostname={self.name}",
            f"--network-namespace-path={self.slot.netns_path(self.name)}",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        ]  # fmt: skip
        with self.console.open("ab") as console:
            return subprocess.Popen(
                ["/bin/sh", "-ec", f'{enter}exec "$@"', "nspawn", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def enter(self, *, pid: int | None = None) -> list[str]:
        """The beginning of a command line that runs inside, as root, in `/root`."""
        leader = pid or self.leader
        if leader is None:
            raise LabError(f"{self.name} is off")
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        inside = ["--root", f"--wd=/proc/{leader}/root/root"]
        return ["nsenter", f"--target={leader}", *namespaces, *inside, "--", "env", "-i", *environment]

    def kill(self) -> None:
        """Cut the power: every process dies at once, the disk stays."""
        if self.process is None:
            return
        if self.leader is not None:
            with suppress(ProcessLookupError):
                os.kill(self.leader, 9)
        self.wait_off(timeout=20)

    def wait_off(self, timeout: float) -> None:
        """Wait until nspawn has ended, and clear its control groups. LabError after `timeout` seconds."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not go off within {timeout:g} s") from None
        self.process = None
        self.leader = None
        for hierarchy in cgroup.hierarchies():
            cgroup.remove_tree(hierarchy / f"{self.slot.prefix}-{self.name}")

    def said(self) -> str:
        """The end of what nspawn and the console said, for error messages."""
        try:
            return self.console.read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""

    def _find_leader(self, process: subprocess.Popen[bytes], timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while process.poll() is None and time.monotonic() < deadline:
            for child in _children(process.pid):
                if _is_init(child):
                    return child
            time.sleep(0.005)
        raise LabError(f"{self.name} does not boot: {self.said() or 'systemd-nspawn says nothing'}")


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _is_init(pid: int) -> bool:
    """True for the pid 1 of a namespace of its own that has become systemd, past nspawn's own set-up."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1" and command == "systemd"
