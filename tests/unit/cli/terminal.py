"""A command on a terminal of its own: as wide as is said, and with everything that only a terminal gets."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from unit.cli.command import COMMAND

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|38|4[0-7]|48|9[0-7])[;m]")


class Screen:
    """What came onto the terminal."""

    def __init__(self, code: int, raw: str) -> None:
        self.code = code
        self.coloured = _COLOUR.search(raw) is not None
        self.lines = [line.rstrip() for line in _STYLE.sub("", raw).replace("\r\n", "\n").splitlines()]
        self.text = "\n".join(self.lines)
        assert "Traceback" not in self.text, self.text


def on_terminal(
    *arguments: str, cwd: Path, columns: int = 120, environment: dict[str, str] | None = None
) -> Screen:
    """Run `ollama-fleet` on a terminal with so many columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=cwd,
        stdin=its,
        stdout=its,
        stderr=its,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})},
    )
    os.close(its)
    received = b""
    while True:
        try:
            received += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return Screen(process.wait(timeout=60), received.decode())
