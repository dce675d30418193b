"""Addresses of a fleet file: where Ollama listens, who may connect, where a host is reached."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ollama_fleet.spec.errors import Wrong, show

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LOCAL = "@local"
"""The address of the machine that runs the deploy itself."""

DEFAULT_PORT = 11434
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where Ollama listens. ``str()`` is what OLLAMA_HOST takes."""

    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can connect."""
        return self.host.is_loopback


DEFAULT_LISTEN = Listen(ipaddress.IPv4Address("127.0.0.1"), DEFAULT_PORT)
"""Where Ollama listens when nothing is said."""


def parse_listen(value: object) -> Listen:
    """``0.0.0.0:11434`` or ``[::]:11434``: an IP address of the host, or all of them, and a port."""
    hint = "write an address and a port, such as 0.0.0.0:11434 or [::]:11434"
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is no address to listen on", hint)
    if "://" in value:
        raise Wrong(f"{show(value)} is a URL", hint)
    if value.startswith("["):
        host_text, bracket, rest = value[1:].partition("]")
        colon, port_text = rest[:1], rest[1:]
        if not bracket or (rest and colon != ":"):
            raise Wrong(f"{show(value)} is no address to listen on", hint)
    elif value.count(":") > 1:
        raise Wrong(
            f"{show(value)} is no address to listen on", "put an IPv6 address in brackets: [::1]:11434"
        )
    else:
        host_text, colon, port_text = value.partition(":")
    if not host_text:
        raise Wrong(f"{show(value)} has no address", f"for all addresses write 0.0.0.0{value}")
    host = _listen_host(value, host_text)
    if not colon:
        raise Wrong(f"{show(value)} has no port", f"write {Listen(host, DEFAULT_PORT)}")
    if not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        raise Wrong(f"{show(port_text)} is no port", "ports go from 1 to 65535")
    return Listen(host, int(port_text))


def _listen_host(value: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if text == "localhost":
        raise Wrong(f"{show(value)} names a host", "write the address: 127.0.0.1")
    try:
        host = ipaddress.ip_address(text)
    except ValueError:
        raise Wrong(
            f"{show(text)} is no IP address", "names are not resolved here; write the address"
        ) from None
    if (host.version == 6) != value.startswith("["):
        raise Wrong(f"{show(value)} is no address to listen on", "only IPv6 addresses stand in brackets")
    if host.is_multicast or (isinstance(host, ipaddress.IPv6Address) and (host.scope_id or host.ipv4_mapped)):
        raise Wrong(f"{show(text)} is no address to listen on", "write an address of the host")
    return host


def parse_network(value: object) -> IPNetwork:
    """``192.168.1.0/24``, ``fd00::/8`` or a single address."""
    hint = "write 192.168.1.0/24, fd00::/8 or a single address"
    if not isinstance(value, str) or len(value) > 60:
        raise Wrong(f"{show(value)} is no network", hint)
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise Wrong(f"{show(value)} is no network", hint) from None
    _, slash, prefix = value.partition("/")
    if slash and not prefix.isdigit():
        raise Wrong(f"{show(value)} is no network", f"write {network}")
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id:
            raise Wrong(f"{show(value)} names an interface", hint)
        if network.network_address.ipv4_mapped:
            raise Wrong(f"{show(value)} is an IPv4 address in IPv6 clothes", "write it as IPv4")
    if slash and ipaddress.ip_interface(value).ip != network.network_address:
        raise Wrong(f"{show(value)} is an address inside {network}", f"write {network}, or the address alone")
    return network


def parse_address(value: object) -> str:
    """Where a host is reached: an IP address, a DNS name, or ``@local``."""
    hint = "write an IP address, a DNS name, or @local"
    if not isinstance(value, str) or len(value) > 253:
        raise Wrong(f"{show(value)} is no address", hint)
    if value == LOCAL:
        return value
    if value.startswith("@"):
        raise Wrong(f"the connector {show(value)} is not supported yet", hint)
    if "@" in value and _DNS_NAME.fullmatch(value.rpartition("@")[2]):
        raise Wrong(f"{show(value)} holds a user", "write the user as ssh.user")
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        pass
    else:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
            raise Wrong(
                f"{show(value)} names an interface", "give the host an address that is not link-local"
            )
        return str(address)
    host, colon, port = value.rpartition(":")
    if colon and port.isdigit() and _DNS_NAME.fullmatch(host):
        raise Wrong(f"{show(value)} holds a port", "write the port as ssh.port")
    if not _DNS_NAME.fullmatch(value) or re.fullmatch(r"[0-9.]+", value):
        raise Wrong(f"{show(value)} is no address", hint)
    return value
