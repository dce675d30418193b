"""A plain look at the port from here, beside what the host says of itself."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.transport import open_direct

GREETING = "Ollama is running"
ALLOWED_TIMEOUT = 10.0
SHUT_TIMEOUT = 3.0


def may_reach(own: str, sources: tuple[str, ...]) -> bool:
    """Whether a connection from the address `own` comes from one of the networks."""
    address = ip_address(own.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ip_network(source) for source in sources)


def greet(address: str, port: int) -> str | None:
    """Return what is wrong with the answer to `GET /` from here, or None where it is as it should be."""
    try:
        with Ollama(address, port, open_direct, timeout=ALLOWED_TIMEOUT) as server:
            text = server.greeting()
    except ApiError as error:
        return f"{address}:{port} does not answer from here ({error})"
    return None if text == GREETING else f"{address}:{port} answers {text[:60]!r} instead of {GREETING!r}"


UNCOVERED = " is open to this machine, which no allow_from covers"
LOOPBACK_ONLY = " is open to this machine, though the server should listen on loopback only"


def shut(address: str, port: int, words: str = UNCOVERED) -> str | None:
    """Return what is wrong where this machine should not get through and does, in these words."""
    try:
        open_direct(address, port, SHUT_TIMEOUT).close()
    except OSError:
        return None
    return f"{address}:{port}{words}"
