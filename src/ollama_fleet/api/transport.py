"""HTTP through the connection that a host already has.

Over SSH each HTTP connection is a `direct-tcpip` channel to the server's port as seen from the host
itself: nothing is needed there, and it works where the firewall rightly shuts the controller out.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from ollama_fleet.artifacts.http_client import import_httpx

if TYPE_CHECKING:
    import httpcore
    import httpx
    from paramiko.transport import Transport

Opener = Callable[[str, int, float], Any]
"""(host, port, timeout in seconds) → an object with socket's sendall, recv, settimeout and close."""


def open_direct(host: str, port: int, timeout: float) -> socket.socket:
    """Open a plain TCP connection from this machine. Raises OSError."""
    return socket.create_connection((host, port), timeout)


# What goes wrong reaches the caller as an error; paramiko prints it besides, with its traceback.
logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)


def open_through(transport: Transport) -> Opener:
    """Connections made by the host at the other end of an SSH transport. They raise OSError."""
    from paramiko.ssh_exception import SSHException

    def open_channel(host: str, port: int, timeout: float) -> Any:
        try:
            channel = transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout)
        except SSHException as error:
            raise OSError(f"the host could not connect to {host}:{port} ({error})") from error
        channel.settimeout(timeout)
        return channel

    return open_channel


def http_transport(opener: Opener) -> httpx.BaseTransport:
    """Return an httpx transport whose connections come from `opener`."""
    httpx_module = import_httpx()
    import httpcore

    class Stream(httpcore.NetworkStream):
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            self._connection.settimeout(timeout)
            try:
                return bytes(self._connection.recv(max_bytes))
            except TimeoutError as error:
                raise httpcore.ReadTimeout("no answer in time") from error
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._connection.settimeout(timeout)
            try:
                self._connection.sendall(buffer)
            except TimeoutError as error:
                raise httpcore.WriteTimeout("could not send in time") from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

        def close(self) -> None:
            self._connection.close()

        def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> httpcore.NetworkStream:
            raise httpcore.ConnectError("a host's own server is spoken to without TLS")

        def get_extra_info(self, info: str) -> Any:
            return None

    class Backend(httpcore.NetworkBackend):
        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
        ) -> httpcore.NetworkStream:
            try:
                return Stream(opener(host, port, timeout or 30.0))
            except TimeoutError as error:
                raise httpcore.ConnectTimeout(f"no connection to {host}:{port} in time") from error
            except OSError as error:
                raise httpcore.ConnectError(str(error)) from error

    # There is no TLS here (start_tls refuses it), and reading the certificates of all authorities takes 15 ms a client.
    transport: Any = httpx_module.HTTPTransport(verify=False, trust_env=False)
    transport._pool = httpcore.ConnectionPool(network_backend=Backend(), max_connections=8)
    return cast("httpx.BaseTransport", transport)
