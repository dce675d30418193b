"""Go's durations and timestamps."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

NANOSECOND = 1
SECOND = 1_000_000_000
FOREVER = 2**63 - 1
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": SECOND}
_UNITS |= {"m": 60 * SECOND, "h": 3600 * SECOND}
_PIECE = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> int:
    """`1h30m`, `-1s`, `300ms`, `0` in nanoseconds. Raises ValueError with Go's words."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0
    position, total = 0, 0
    while position < len(body):
        piece = _PIECE.match(body, position)
        if not piece:
            break
        total += round(float(piece[1]) * _UNITS[piece[2]])
        position = piece.end()
    if not body or position < len(body):
        if re.fullmatch(r"(\d+\.?\d*|\.\d+)", body[position:]):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total


def format_duration(nanoseconds: int) -> str:
    """Nanoseconds as Go prints a time.Duration: `24h0m0s`, `1.5s`, `300ms`."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    if rest < SECOND:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
    hours, rest = divmod(rest, 3600 * SECOND)
    minutes, rest = divmod(rest, 60 * SECOND)
    seconds = f"{_decimal(rest, SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = str(rest).zfill(len(str(unit)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def rfc3339(nanoseconds: int, *, utc: bool = False) -> str:
    """A moment since the epoch as Go writes it into JSON: local zone, trailing zeros dropped."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    moment = datetime.fromtimestamp(0, UTC).replace(tzinfo=UTC)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
        moment = moment if utc else moment.astimezone()
    except (OverflowError, OSError, ValueError):  # beyond the platform's calendar
        moment = datetime(9999, 12, 31, tzinfo=UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if fraction:
        text += "." + f"{fraction:09d}".rstrip("0")
    zone = moment.strftime("%z")
    return text + ("Z" if zone in ("", "+0000") else f"{zone[:3]}:{zone[3:5]}")


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()
