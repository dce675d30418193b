"""The server's log: Go's slog text format on standard error, gin's access lines on standard output."""

from __future__ import annotations

import sys
import time
from datetime import datetime

from ollama_sim import gotime

_QUOTED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
LEVELS = {"TRACE": -8, "DEBUG": -4, "INFO": 0, "WARN": 4, "ERROR": 8}
threshold = 0


def log(level: str, source: str, msg: str, **attributes: object) -> None:
    """Write one line. `source` is FILE:LINE as the real server would name it."""
    if LEVELS[level] < threshold:
        return
    moment = datetime.now().astimezone()
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    zone = moment.strftime("%z")
    stamp += "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    pairs = [("time", stamp), ("level", level), ("source", source), ("msg", msg), *attributes.items()]
    print(" ".join(f"{_value(key)}={_value(value)}" for key, value in pairs), file=sys.stderr, flush=True)


def raw(text: str) -> None:
    """Write a line that the engine itself would write."""
    print(text, file=sys.stderr, flush=True)


def access(status: int, took: float, client: str, method: str, path: str) -> None:
    """Write gin's line for one request; `took` is seconds."""
    stamp = time.strftime("%Y/%m/%d - %H:%M:%S")
    shown = gotime.format_duration(round(took * gotime.SECOND))
    print(f'[GIN] {stamp} | {status:3d} | {shown:>13} | {client:>15} | {method:<7}  "{path}"', flush=True)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text and all(char.isprintable() and char not in ' "=' for char in text):
        return text
    return quote(text)


def quote(text: str) -> str:
    """Go's strconv.Quote for printable text."""
    out = []
    for char in text:
        if char in _QUOTED:
            out.append(_QUOTED[char])
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\x{ord(char):02x}" if ord(char) < 0x80 else f"\\u{ord(char):04x}")
    return '"' + "".join(out) + '"'


def human(size: int) -> str:
    """Bytes as the log writes them: `23.5 GiB`."""
    for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {name}"
    return f"{size} B"
