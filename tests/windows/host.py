"""A Windows host as a test sees it, and the fixture that makes one."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windows.wine import Wine

TESTS = Path(__file__).resolve().parents[1]


@dataclass
class WindowsHost:
    """A running host. `run` and `powershell` come through SSH, as somebody at another desk would."""

    folder: Path
    address: str
    port: int
    powershell_port: int
    """The same host, but with PowerShell for default shell."""
    user: str
    key: Path
    process: subprocess.Popen[str]
    meant: int = 0
    """A place in the log: up to it, what is missing was asked for on purpose."""

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        listen: str | None = None,
        port: int = 0,
        key: Path | None = None,
        before: tuple[str, ...] = (),
    ) -> WindowsHost:
        """Make a host in a folder and start it; `before` is put before its command, as `ip netns exec NAME`."""
        folder.mkdir(exist_ok=True)
        prefix = folder / "prefix"
        Wine.new(prefix)
        for name in ("host-key", *(() if key else ("key",))):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        client = key or folder / "key"
        options = [
            "--address",
            listen or address,
            "--port",
            str(port),
            "--prefix",
            str(prefix),
            "--client-key",
            f"{client}.pub",
        ]
        options += ["--host-key", str(folder / "host-key"), "--log", str(folder / "log")]
        with (folder / "stderr").open("w") as errors:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "windows.server", *options],
                cwd=TESTS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        told = json.loads(line)
        return cls(folder, address, *told["ports"], told["user"], client, process)

    @property
    def prefix(self) -> Path:
        return self.folder / "prefix"

    @property
    def known_hosts(self) -> str:
        """The line of known_hosts about this host."""
        kind, key, *_ = (self.folder / "host-key.pub").read_text().split()
        where = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{where} {kind} {key}\n"

    def path(self, windows: str) -> Path:
        """Where a path of Windows' lies on this machine."""
        return Wine(self.prefix).path(windows)

    def run(self, line: str, *, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a line in the default shell by OpenSSH's client."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ]
        flags = [word for option in options for word in ("-o", option)]
        where = ["-i", str(self.key), "-p", str(self.port), f"{self.user}@{self.address}"]
        return subprocess.run(
            ["ssh", "-F", "none", *flags, *where, line],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def powershell(self, script: str) -> str:
        """Run a script as somebody does by hand; its output. It must succeed."""
        encoded = base64.b64encode(script.encode("utf-16-le")).decode()
        done = self.run(f"powershell.exe -NoProfile -NonInteractive -EncodedCommand {encoded}")
        assert done.returncode == 0, done
        return done.stdout

    def play_gpus(self, told: dict[str, Any] | None) -> None:
        """What `nvidia-smi` answers from, see programs.py; None takes it away."""
        place = self.folder / "gpus.json"
        if told is None:
            place.unlink(missing_ok=True)
        else:
            place.write_text(json.dumps(told))

    def log(self) -> list[dict[str, Any]]:
        """What was executed, in order."""
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def mark(self) -> int:
        """A place in the log."""
        return len(self.log())

    def commands(self, since: int = 0) -> list[dict[str, Any]]:
        """Exec requests since a mark."""
        return [entry for entry in self.log()[since:] if entry["kind"] not in ("inner", "missing")]

    def missing(self) -> list[str]:
        """What the stand-in was asked for and does not know, since that was last meant; must be nothing."""
        return [entry["what"] for entry in self.log()[self.meant :] if entry["kind"] == "missing"]

    def stop(self) -> None:
        """Switch it off."""
        if self.process.stdin is not None and self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def remove(self) -> None:
        """Switch it off and remove its disk."""
        self.stop()
        for _ in range(20):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.2)
