"""Eyes on a host while something runs on it: every file that is written, every process that is there."""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.host import Host

_LIBC = ctypes.CDLL(None, use_errno=True)
_MODIFY, _CLOSE_WRITE, _MOVED_TO, _CREATE, _ONLYDIR = 0x2, 0x8, 0x80, 0x100, 0x01000000
_IS_DIRECTORY = 0x40000000
_EVENT = struct.Struct("iIII")
WATCHED = ("tmp", "var", "etc", "run", "root", "home", "opt", "srv", "dev/shm")
"""Where anybody could leave a file; /usr is read-only to all but packages."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Seen:
    """A file at one moment of its life, path as the host sees it; or a process, by its command line."""

    where: str
    mode: int = 0
    owner: int = 0


@dataclass
class Watch:
    """A context manager: within it, all that `is_planted` says yes to is noted."""

    host: Host
    is_planted: Callable[[bytes], bool]
    files: set[Seen] = field(default_factory=set)
    """Files that held it, at any moment."""
    command_lines: set[bytes] = field(default_factory=set)
    """Command lines that held it, here or on the host."""
    environments: set[bytes] = field(default_factory=set)
    """Command lines of the host's processes whose environment held it."""
    written: set[str] = field(default_factory=set)
    """All paths that were written, which shows that the watch was awake."""
    commands: set[bytes] = field(default_factory=set)
    """All command lines of the host's processes, for the same reason."""
    problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def root(self) -> Path:
        """The host's tree with its own mounts, as seen from here."""
        return Path(f"/proc/{self.host.leader}/root")

    def __enter__(self) -> Self:
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0, "no inotify instance is left: fs.inotify.max_user_instances"
        self._folders: dict[int, str] = {}
        self._starting = True
        for folder in WATCHED:
            self._add_below(f"/{folder}")
        self._starting = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._sample)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        os.close(self._descriptor)
        assert self.problems == []

    def _add_below(self, folder: str) -> None:
        """Watch a folder and those in it."""
        watched = self._add(folder)
        if not watched:
            return
        try:
            entries = list(os.scandir(f"{self.root}{folder}"))
        except OSError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                self._add_below(f"{folder}/{entry.name}")
            elif not self._starting:
                # In a folder that is new, files may be older than the watch.
                self._event(f"{folder}/{entry.name}", 0)

    def _add(self, folder: str) -> bool:
        flags = _MODIFY | _CLOSE_WRITE | _MOVED_TO | _CREATE | _ONLYDIR
        number = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(f"{self.root}{folder}"), flags)
        if number < 0:
            if ctypes.get_errno() == 28:
                self.problems.append("no more watches: fs.inotify.max_user_watches")
            return False
        self._folders[number] = folder
        return True

    def _read(self) -> None:
        while not self._over.is_set():
            ready, _, _ = select.select([self._descriptor], [], [], 0.05)
            if not ready:
                continue
            data = os.read(self._descriptor, 1 << 16)
            offset = 0
            while offset < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, offset)
                name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
                offset += _EVENT.size + length
                if number == -1:
                    self.problems.append("events were lost")
                else:
                    self._event(f"{self._folders[number]}/{os.fsdecode(name)}", mask)

    def _event(self, path: str, mask: int) -> None:
        self.written.add(path)
        if mask & _IS_DIRECTORY:
            self._add_below(path)
            return
        try:
            # A pipe would wait for a writer.
            with open(os.open(f"{self.root}{path}", os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
                status = os.fstat(file.fileno())
                content = file.read(_LARGEST) if stat.S_ISREG(status.st_mode) else b""
        except OSError:
            return
        if self.is_planted(content):
            self.files.add(Seen(path, status.st_mode & 0o7777, status.st_uid))

    def _sample(self) -> None:
        namespace = os.stat(f"/proc/{self.host.leader}/ns/pid").st_ino  # noqa: PTH116 - as above
        own: dict[str, bool] = {}
        while not self._over.is_set():
            for number in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - as above
                try:
                    line = _read(number, "cmdline")
                    if self.is_planted(line):
                        self.command_lines.add(line)
                    if number not in own:
                        own[number] = os.stat(f"/proc/{number}/ns/pid").st_ino == namespace  # noqa: PTH116 - as above
                    if not own[number]:
                        continue
                    self.commands.add(line)
                    # In the middle of an exec the environment is new and the line still old or empty, so the line
                    # is read again; one that is empty then is of a process that has just ended.
                    if self.is_planted(_read(number, "environ")) and (now := _read(number, "cmdline")):
                        self.environments.add(now)
                except OSError:
                    continue
            # The host's work is what is to be watched, not how busy a watcher can be.
            time.sleep(0.001)


def _read(number: str, what: str) -> bytes:
    with open(f"/proc/{number}/{what}", "rb") as file:  # noqa: PTH123 - as above
        return file.read()
