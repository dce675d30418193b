"""The pyinfra inventory out of fleet.yaml."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paramiko.transport import Transport
from pyinfra import logger

from ollama_fleet.deploys.progress.following import follow_apply
from ollama_fleet.deploys.source import fleet_path, load_source
from ollama_fleet.spec.errors import Position, SpecError, SpecErrors
from ollama_fleet.spec.hosts import HostSpec

KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""Seconds, but the last is milliseconds."""

HostEntry = tuple[str, dict[str, Any]]


def inventory(inventory_file: str) -> dict[str, list[HostEntry]]:
    """Return pyinfra's groups: `all` hosts with their connection data, and the fleet's own groups.

    Args:
        inventory_file: `__file__` of `inventory/hosts.py`; fleet.yaml lies in the folder above.

    Raises:
        SystemExit: fleet.yaml or fleet.lock is wrong, which has been told, one line for each mistake. An error
            of pyinfra's own would name a line of this file to somebody who has to look into theirs.
    """
    follow_apply()
    path = fleet_path(Path(inventory_file).absolute().parent.parent)
    try:
        fleet = load_source(path).fleet
        check_keys(fleet.hosts)
    except SpecErrors as error:
        for mistake in error.errors:
            logger.error(str(mistake))
        raise SystemExit(1) from None
    entries = {host.name: host_entry(host, path) for host in fleet.hosts}
    groups = {name: [entries[host] for host in hosts] for name, hosts in fleet.groups.items()}
    return {**groups, "all": list(entries.values())}


def check_keys(hosts: Iterable[HostSpec]) -> None:
    """Make sure that every SSH key is there: pyinfra would end the run of all hosts with a traceback.

    Raises:
        SpecErrors: a key is no file.
    """
    wrong = []
    for host in hosts:
        key = _expanded(host.ssh.key)
        if key is not None and not Path(key).is_file():
            at = host.origin["ssh.key"]
            position = Position(at.line, at.column)
            wrong.append(
                SpecError(at.path, f"there is no file {key}", "name a private key", position, at.file)
            )
    if wrong:
        raise SpecErrors(wrong)


def host_entry(spec: HostSpec, path: Path) -> HostEntry:
    """Return the name and the connection data of a host, as pyinfra takes them."""
    data: dict[str, Any] = {"ollama_fleet_host": spec.name, "ollama_fleet_file": str(path)}
    if spec.sudo:
        data["_sudo"] = True
    if spec.connector == "local":
        return ("@local", data)
    data["ssh_hostname"] = spec.address
    data["ssh_paramiko_connect_kwargs"] = {"transport_factory": prompt_transport}
    optional = {
        "ssh_user": spec.ssh.user,
        "ssh_port": spec.ssh.port,
        "ssh_key": _expanded(spec.ssh.key),
        "ssh_known_hosts_file": _expanded(spec.ssh.known_hosts),
    }
    data.update({key: value for key, value in optional.items() if value is not None})
    return (f"@windows/{spec.name}" if spec.connector == "windows" else spec.name, data)


def pyinfra_name(entry: HostEntry) -> str:
    """The name that pyinfra gives to the host of an entry."""
    return entry[0].removeprefix("@windows/")


def _expanded(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser())


def prompt_transport(sock: socket.socket, **options: Any) -> Transport:
    """Make an SSH transport that does not wait for more to send, and notices within a minute that a host is gone.

    Without the first one command takes 48 ms, not 4; without the second a cut cable would hang the run for hours.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has every option
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Transport(sock, **options)
