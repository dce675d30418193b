"""Whether the one who asked is still there. As in Ollama, a request that waits for its turn to load is forgotten when
its client has gone; a load that has begun goes on.
"""

from __future__ import annotations

import select
import socket
import threading

_here = threading.local()


def serves(connection: socket.socket) -> None:
    """Say whose request this thread answers."""
    _here.connection = connection


def gone() -> bool:
    """Whether the client of this thread's request has closed its connection."""
    connection: socket.socket | None = getattr(_here, "connection", None)
    if connection is None:
        return False
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True
