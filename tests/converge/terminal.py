"""A command on a terminal that is read as eyes read it: screen by screen, with what has scrolled off the top."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte
import pytest

from converge.fleet_directory import FleetDirectory


class Terminal:
    """A context manager: within it a command runs in a fleet's directory, on a terminal of its own."""

    def __init__(
        self,
        fleet: FleetDirectory,
        command: str,
        *arguments: str,
        columns: int = 120,
        rows: int = 30,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.frames: list[str] = []
        """What the screen showed, each time something had been written."""
        self.raw = b""
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [str(fleet.commands / command), *arguments],
            cwd=fleet.path,
            env={**fleet.environment_of_run(), "TERM": "xterm-256color", **(environment or {})},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """The screen as it is, line by line."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def all_lines(self) -> list[str]:
        """The screen with what has scrolled off its top."""
        above = [
            "".join(line[column].data for column in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return [*above, *self.lines]

    def wait_for(self, what: Callable[[str], object], seconds: float = 90) -> str:
        """Wait until a screen is shown on which something is so; returns that screen."""
        end, seen = time.monotonic() + seconds, 0
        while True:
            over = not self._reader.is_alive()
            for frame in self.frames[seen:]:
                seen += 1
                if what(frame):
                    return frame
            if over or time.monotonic() > end:
                pytest.fail("never seen; at the end there was\n" + "\n".join(self.all_lines))
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, to all that run on the terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, seconds: float = 180) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def _read(self) -> None:
        while True:
            try:
                received = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                return
            self.raw += received
            self._stream.feed(received)
            self.frames.append("\n".join(self.lines))
