"""The histories of many hosts, one command each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paramiko.ssh_exception import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from ollama_fleet.deploys.visit import visit
from ollama_fleet.planner.record import Record
from ollama_fleet.probe.history import ApplyHistory
from ollama_fleet.spec.hosts import HostSpec

TIMEOUT = 60
"""Seconds for the one command."""


@dataclass(frozen=True, slots=True)
class HostHistory:
    """What a host remembers, oldest first, or why that cannot be told."""

    host: str
    records: tuple[Record, ...]
    error: str | None = None


def histories(path: Path, hosts: Sequence[HostSpec]) -> list[HostHistory]:
    """Read the records of applies; a host that cannot be read does not stop the others.

    Args:
        path: of fleet.yaml.
        hosts: those to ask.

    Raises:
        SpecErrors: an SSH key is not there.
    """
    return visit(path, hosts, _one)


def _one(host: Host, spec: HostSpec) -> HostHistory:
    if not host.connected:
        return HostHistory(spec.name, (), "no connection")
    try:
        found = host.get_fact(ApplyHistory, scope=spec.place, _timeout=TIMEOUT)
    except (PyinfraError, OSError, SSHException, EOFError) as error:
        return HostHistory(spec.name, (), f"the host could not be read: {str(error) or type(error).__name__}")
    return HostHistory(spec.name, tuple(found))
