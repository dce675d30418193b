"""What sshd opened for its clients: exec, shell and subsystem sessions, read from its log.

At LogLevel VERBOSE sshd writes one line per session that begins with `Starting session:`; a TCP connection or
a forwarded channel is none. So the cost of a deploy can be counted on the server's side.
"""

from __future__ import annotations

import re
from typing import Literal

Session = Literal["exec", "shell", "subsystem"]

_LINE = re.compile(r"Starting session: (?P<kind>command|shell|subsystem|forced-command)\b")


def parse_sessions(log: str) -> list[Session]:
    """The sessions that sshd's log tells of, oldest first."""
    sessions: list[Session] = []
    for match in _LINE.finditer(log):
        kind = match["kind"]
        if kind == "shell":
            sessions.append("shell")
        elif kind == "subsystem":
            sessions.append("subsystem")
        else:
            sessions.append("exec")
    return sessions
