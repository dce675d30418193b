"""An OLLAMA_HOST that somebody has written, as Ollama reads it: far more than `listen` of fleet.yaml may say."""

from __future__ import annotations

from ollama_fleet.spec.addresses import DEFAULT_PORT


def port_of(listen: str) -> int:
    """The port that an OLLAMA_HOST stands for, as Ollama reads it."""
    scheme, separator, rest = listen.strip().strip("'\"").rpartition("://")
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    host = rest.partition("/")[0]
    _, colon, port = host.rpartition("]")[2].rpartition(":")
    bare_ipv6 = host.count(":") > 1 and "]" not in host
    return int(port) if colon and port.isdecimal() and not bare_ipv6 else default


def address_of(listen: str) -> str:
    """The address of it; one that names only a port is Ollama's own loopback default."""
    rest = listen.partition("://")[2] or listen
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.rpartition(":")[0] or (rest if not rest.startswith(":") else "127.0.0.1")
