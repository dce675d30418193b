"""A client for the server on a pyinfra host, through the connection that pyinfra already has."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ollama_fleet.api.client import ANSWER_TIMEOUT, Ollama
from ollama_fleet.api.transport import Opener, open_direct, open_through

if TYPE_CHECKING:
    from paramiko.transport import Transport
    from pyinfra.api.host import Host

STARTING = 120.0
"""Seconds for a server that was just started to answer; it looks for GPUs first."""


def ssh_transport(host: Host) -> Transport | None:
    """Return the SSH connection's transport; None for a connector that is not SSH, such as `@local`."""
    client = getattr(host.connector, "client", None)
    return client.get_transport() if client is not None else None


def is_connected(host: Host) -> bool:
    """Whether pyinfra's connection still stands; one that needs none always does."""
    transport = ssh_transport(host)
    return transport is None or bool(transport.is_active())


def ends(transport: Transport) -> tuple[str, str] | None:
    """Return this machine's address as the host sees it, and the host's as seen from here.

    None through a jump host: then the two do not see each other at all.
    """
    sock = transport.sock
    if not isinstance(sock, socket.socket):
        return None
    return str(sock.getsockname()[0]), str(sock.getpeername()[0])


def server_of(host: Host, address: str, port: int, *, timeout: float = ANSWER_TIMEOUT) -> Ollama:
    """Return a client for the server that listens on `address` there; `0.0.0.0` and `::` mean any of its own."""
    transport = ssh_transport(host)
    opener: Opener = open_direct if transport is None else open_through(transport)
    return Ollama(own_address(address), port, opener, timeout=timeout)


def own_address(listen: str) -> str:
    """Return where a process on the same host reaches a server that listens on `listen`."""
    address = ip_address(listen)
    if not address.is_unspecified:
        return str(address)
    return "127.0.0.1" if address.version == 4 else "::1"
