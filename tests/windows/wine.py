"""Wine: one prefix per host, kept warm, with drives as folders."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

WINE = Path("/usr/lib/wine/wine64")
PACKAGES = ("wine64", "wine")
CACHE = Path(os.environ.get("OLLAMA_FLEET_LAB_CACHE", "/var/cache/ollama-fleet-lab"))
SLOW = 60
"""Seconds for one command of Wine's."""


def why_not(say: Callable[[str], None] = lambda _: None) -> str | None:
    """Why there is no Wine here, after trying to install it; None where there is."""
    if WINE.exists():
        return None
    if os.geteuid() != 0:
        return "Wine is not installed, and only root can install it"
    if shutil.which("apt-get") is None:
        return "Wine is not installed, and there is no apt-get"
    say("installing Wine, once, by apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *command], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode and command[0] == "install":
            return f"Wine cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return None if WINE.exists() else f"Debian's Wine has no {WINE}"


def base_prefix() -> Path:
    """A fresh prefix to copy, made once on this machine; it takes 20 s and 700 MB."""
    place = CACHE / "wine-prefix"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "wine-prefix.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            new = CACHE / "wine-prefix.new"
            shutil.rmtree(new, ignore_errors=True)
            wine = Wine(new)
            for arguments in (("wineboot", "-i"), ("winecfg", "-v", "win10")):
                subprocess.run(
                    [WINE, *arguments], env=wine.environment, capture_output=True, timeout=300, check=True
                )
            subprocess.run(["/usr/lib/wine/wineserver", "-w"], env=wine.environment, timeout=120, check=False)
            (new / "dosdevices" / "z:").unlink(missing_ok=True)
            new.rename(place)
    return place


class Wine:
    """A prefix and what runs in it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "TMPDIR", "HOME")}
        quiet = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml=", "LC_ALL": "C.UTF-8"}
        self.environment = {**kept, **quiet, "WINEPREFIX": str(prefix), "WINEARCH": "win64"}
        self._keeper: subprocess.Popen[bytes] | None = None

    @classmethod
    def new(cls, prefix: Path, drives: str = "d") -> Wine:
        """A prefix with further drives."""
        subprocess.run(["cp", "-a", "--reflink=auto", base_prefix(), prefix], check=True)
        for letter in drives:
            (prefix / f"drive_{letter}").mkdir()
            (prefix / "dosdevices" / f"{letter}:").symlink_to(f"../drive_{letter}")
        return cls(prefix)

    def keep_warm(self) -> None:
        """An idle `cmd`: with a server that runs already a command takes 0.2 s, not 3 s."""
        # One after the other: two programs that wake a prefix at once get in each other's way.
        self.run("cmd", "/c", "exit")
        self._keeper = subprocess.Popen(
            [WINE, "cmd"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """End everything in the prefix."""
        if self._keeper is not None:
            if self._keeper.stdin is not None:
                self._keeper.stdin.close()
            self._keeper.kill()
            self._keeper.wait()
        subprocess.run(["/usr/lib/wine/wineserver", "-k"], env=self.environment, timeout=30, check=False)

    def run(self, *arguments: str, timeout: float = SLOW) -> tuple[int, bytes, bytes]:
        """Run a program of Wine's: exit code, output, errors. Raises subprocess.TimeoutExpired."""
        done = subprocess.run(
            [WINE, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def cmd(self, line: str, directory: str) -> tuple[int, bytes, bytes]:
        """Run a line as cmd.exe gets it from sshd."""
        script = self.prefix / "drive_c/windows/temp" / f"line-{os.urandom(6).hex()}.cmd"
        # In a batch file a percent sign counts twice, on a command line once.
        script.write_bytes(f"@echo off\r\ncd /d {directory}\r\n{line}\r\n".encode())
        try:
            return self.run("cmd", "/c", f"C:\\windows\\temp\\{script.name}")
        finally:
            script.unlink(missing_ok=True)

    def path(self, windows: str) -> Path:
        """Where a path of Windows' lies; its parts are found whatever their case. Raises ValueError."""
        text = windows.replace("/", "\\")
        if len(text) < 2 or text[1] != ":" or not text[0].isalpha():
            raise ValueError(f"{windows!r} is no absolute path with a drive")
        at = self.prefix / f"drive_{text[0].lower()}"
        for part in text[2:].split("\\"):
            if part in ("", "."):
                continue
            if part == "..":
                raise ValueError(f"{windows!r} goes up")
            if part[-1] in " ." or any(letter in '<>:"|?*' or ord(letter) < 32 for letter in part):
                raise ValueError(f"{windows!r} is no path on Windows")
            at = _find(at, part)
        return at


def _find(folder: Path, name: str) -> Path:
    exact = folder / name
    if exact.exists() or exact.is_symlink() or not folder.is_dir():
        return exact
    low = name.casefold()
    return next((entry for entry in folder.iterdir() if entry.name.casefold() == low), exact)
