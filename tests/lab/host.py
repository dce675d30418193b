"""A host of the lab, as a test sees it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .container import Container
from .network import Network, set_cable
from .process import LabError
from .sessions import Session, parse_sessions
from .snapshot import VOLATILE, Entry, snapshot

Command = str | Sequence[str]


@dataclass
class Host:
    """A booted machine with an interface on every network. Made by `Lab.host`, gone with its lab."""

    container: Container
    number: int
    networks: dict[str, Network]
    firewall: str | None
    known_hosts: Path
    key: Path

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    @property
    def name(self) -> str:
        return self.container.name

    @property
    def address(self) -> str:
        """IPv4 address on `lan`, where the controller is."""
        return self.networks["lan"].address(self.number)

    @property
    def address6(self) -> str:
        return self.networks["lan"].address6(self.number)

    def office_address(self, family: int = 4) -> str:
        """Address on `office`; `family` is 4 or 6."""
        return self._address("office", family)

    def outside_address(self, family: int = 4) -> str:
        """Address on `outside`; `family` is 4 or 6."""
        return self._address("outside", family)

    @property
    def root(self) -> Path:
        """The host's file system as mounted on this machine (without its /run, /tmp, /proc)."""
        return self.container.root

    @property
    def leader(self) -> int:
        """Process id of the host's pid 1 in this machine's numbering. LabError while the host is off."""
        if self.container.leader is None:
            raise LabError(f"{self.name} is off")
        return self.container.leader

    def run(
        self,
        command: Command,
        *,
        check: bool = True,
        timeout: float = 30,
        user: str | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line or an argument list inside, never through SSH, so it counts as no session.

        As `user` it is a login of theirs with XDG_RUNTIME_DIR set, else root's. Raises LabError with the
        command's complaint when `check` is set and it fails, and when it takes longer than `timeout` seconds.
        """
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        if user is not None:
            line = f"export XDG_RUNTIME_DIR=/run/user/$(id -u); exec {shlex.join(argv)}"
            argv = ["runuser", "--login", user, "-c", line]
        done = self._inside(argv, stdin=None if stdin is None else stdin.encode(), timeout=timeout)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode:
            said = (err or out).strip()[-2000:]
            raise LabError(f"{self.name}: {shlex.join(argv)}: exit status {done.returncode}: {said}")
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    def read(self, path: str) -> str:
        """The content of a text file. FileNotFoundError where there is none."""
        return self.read_bytes(path).decode()

    def read_bytes(self, path: str) -> bytes:
        """The content of a file, as root sees it inside. FileNotFoundError where there is none."""
        if not self.exists(path):
            raise FileNotFoundError(f"{self.name}:{path}")
        done = self._inside(["cat", "--", path], timeout=60)
        if done.returncode:
            raise LabError(f"{self.name}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def exists(self, path: str) -> bool:
        return self._inside(["test", "-e", path]).returncode == 0

    def write(self, path: str, content: str | bytes, mode: int = 0o644, *, owner: str = "root:root") -> None:
        """Write a file inside, with the directories it needs."""
        data = content.encode() if isinstance(content, str) else content
        script = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1" && chown "$2" -- "$1" && chmod "$3" -- "$1"'
        done = self._inside(["/bin/sh", "-c", script, "write", path, owner, f"{mode:o}"], stdin=data)
        if done.returncode:
            raise LabError(f"{self.name}: {done.stderr.decode(errors='replace').strip()}")

    def snapshot(self, exclude: Iterable[str] = VOLATILE) -> dict[str, Entry]:
        """Every path on the disk with type, mode, owner and content, except `exclude` and what is below."""
        return snapshot(self.root, exclude)

    def mark(self) -> str:
        """A moment in sshd's log, for `ssh_sessions(since=...)`."""
        return self._log(["-n1", "--show-cursor"]).rpartition("-- cursor: ")[2].strip()

    def ssh_sessions(self, since: str | None = None) -> list[Session]:
        """The sessions (exec, shell, subsystem) that sshd has opened since a `mark()`, or since boot."""
        return parse_sessions(self._log([f"--after-cursor={since}"] if since else []))

    def reboot(self, timeout: float = 60) -> None:
        """Reboot in order, as `systemctl reboot` does, and wait for sshd. Raises LabError after `timeout`."""
        self.shutdown(timeout)
        self.start(timeout)

    def shutdown(self, timeout: float = 60) -> None:
        """Shut down in order: units are stopped."""
        self._inside(["systemctl", "--no-block", "poweroff"])
        self.container.wait_off(timeout)

    def stop(self) -> None:
        """Pull the plug: nothing is stopped or written first."""
        self.container.kill()

    def start(self, timeout: float = 60) -> None:
        """Boot and wait until the boot is complete. Raises LabError after `timeout` seconds."""
        self.container.boot()
        self.wait_until_up(timeout)

    def cut_network(self, *networks: str) -> None:
        """Pull the cables of the named networks, or of all: packets are lost from now on."""
        set_cable(self.container.slot, self.number, list(networks or self.networks), plugged=False)

    def restore_network(self, *networks: str) -> None:
        """Plug the cables in again."""
        set_cable(self.container.slot, self.number, list(networks or self.networks), plugged=True)

    def ssh_command(self, user: str = "root", *, address: str | None = None) -> list[str]:
        """A command line of OpenSSH's client that reaches this host; append what to run."""
        options = [f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        flags = [part for option in options for part in ("-o", option)]
        return ["ssh", "-F", "none", "-i", str(self.key), *flags, f"{user}@{address or self.address}"]

    def wait_until_up(self, timeout: float = 60) -> None:
        """Wait until sshd greets and the boot is complete. Raises LabError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            process = self.container.process
            if process is not None and process.poll() is not None:
                raise LabError(f"{self.name} went off while booting: {self.container.said()}")
            try:
                with socket.create_connection((self.address, 22), timeout=1) as connection:
                    if connection.recv(4) == b"SSH-":
                        break
            except OSError:
                pass
            time.sleep(0.02)
        else:
            self._give_up(timeout)
        # sshd comes up before the last units have; a test wants a machine on which nothing is under way.
        self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=timeout)

    def _give_up(self, timeout: float) -> NoReturn:
        journal = self.run("journalctl --no-pager -b -p warning -n 20", check=False).stdout
        raise LabError(f"{self.name}: no sshd after {timeout:g} s\n{self.container.said()}\n{journal}")

    def use_gpu_memory(self, used: dict[int, int]) -> None:
        """Let `nvidia-smi` tell of this much memory in use, MiB by GPU index, until the next boot."""
        self.write("/run/lab-gpu-used.json", json.dumps(used))

    def _address(self, network: str, family: int) -> str:
        on = self.networks[network]
        return on.address6(self.number) if family == 6 else on.address(self.number)

    def _log(self, arguments: list[str]) -> str:
        command = ["journalctl", "--no-pager", "--quiet", "--boot", "--output=cat", *arguments]
        # sshd's messages come from its children, so by its name and not only by its unit.
        return self.run(
            ["/bin/sh", "-c", f"journalctl --sync; exec {shlex.join([*command, '-tsshd'])}"]
        ).stdout

    def _inside(
        self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        command = [*self.container.enter(), *argv]
        try:
            return subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=timeout,
                check=False,
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {shlex.join(argv)}: not done after {timeout:g} s") from None
