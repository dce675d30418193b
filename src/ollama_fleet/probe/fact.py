"""The probe as a pyinfra fact, and its memory for the length of one run.

pyinfra reads a fact anew each time it is asked for. One run asks many times for the same host, so what was
read is kept with the host's connection, until something has been changed and the checks want to look again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click
from paramiko.ssh_exception import SSHException
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host

from ollama_fleet.api.through import is_connected
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe import read
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.probe.windows import read as windows_read

_MEMORY = "ollama_fleet.probe"
TIMEOUT = 120
"""Seconds for the one command; what it runs is bounded too, but a dying disk is not."""
WINDOWS_TIMEOUT = 300
"""PowerShell takes seconds to start, and some more to list the firewall's rules."""


class OllamaHost(FactBase[list[str]]):
    """Lines that the probe's script prints; `read` makes a HostState of them."""

    def command(self, scope: Scope = "system", models_dir: str | None = None) -> str:
        """Return the script for a scope and a models directory."""
        return read.script(ProbeRequest(Layout.of(scope, models_dir)))

    def process(self, output: list[str]) -> list[str]:
        """Return the lines as they are."""
        return list(output)


class OllamaWindowsHost(FactBase[list[str]]):
    """The same of a Windows host: one line in base64."""

    def command(self, models_dir: str | None = None) -> str:
        """Return the script for a models directory."""
        return windows_read.script(ProbeRequest(Layout.of("windows", models_dir)))

    def process(self, output: list[str]) -> list[str]:
        """Return the lines as they are."""
        return list(output)


class ProbeFailed(Exception):
    """The host could not be read; pyinfra has already said why and failed the host."""


def probe(host: Host, request: ProbeRequest) -> tuple[HostState, Layout]:
    """Read a host, or return what this run has read of it. Raises ProbeFailed or read.ProbeError."""
    memory: dict[ProbeRequest, tuple[HostState, Layout]] = host.connector_data.setdefault(_MEMORY, {})
    if request not in memory:
        arguments: dict[str, Any] = {
            "scope": request.layout.scope,
            "models_dir": request.layout.models,
        }
        try:
            if request.layout.scope == "windows":
                lines = host.get_fact(
                    OllamaWindowsHost, models_dir=request.layout.models, _timeout=WINDOWS_TIMEOUT
                )
            else:
                lines = host.get_fact(OllamaHost, **arguments, _timeout=TIMEOUT)
        except (EOFError, OSError, SSHException) as error:
            if isinstance(error, EOFError):
                click.echo(err=True)  # the question that nobody answered has no end of its line
            fail(host, _why_unread(host, error))
            raise ProbeFailed from error
        except PyinfraError as error:
            if host.state.inventory.get_host(host.name) in host.state.failed_hosts:
                raise ProbeFailed from error  # it was the last one, which pyinfra says in its own way
            raise
        if not lines:
            raise ProbeFailed
        memory[request] = read.parse(lines, request)
    return memory[request]


def fail(host: Host, reason: str) -> None:
    """Log why a host cannot go on, and leave it out of the rest of the run."""
    logger.error(f"{host.print_prefix}{reason}")
    # The host at hand may be pyinfra's stand-in for "the current one", which is another at the end of the run.
    host.state.fail_hosts({host.state.inventory.get_host(host.name)})  # type: ignore[no-untyped-call]


def _why_unread(host: Host, error: Exception) -> str:
    if not is_connected(host):
        return "the connection broke off while the host was read"
    if isinstance(error, EOFError):
        return (
            "sudo asks for a password, and there is no terminal to type it at; "
            "let this user use sudo without one, or set another ssh.user"
        )
    return f"the host could not be read: {str(error) or type(error).__name__}"


def remember(host: Host, request: ProbeRequest, loaded: Mapping[str, tuple[str, ...] | None]) -> HostState:
    """Add to what was read the names of the models in memory, which only the servers know; returns it all.

    Args:
        host: connected.
        request: what was read.
        loaded: by the instance's name, which is empty for the only server of a host.
    """
    state, layout = probe(host, request)
    told = {name: models for name, models in loaded.items() if name and models is not None}
    known = replace(state, loaded=loaded.get("", state.loaded), loaded_by={**state.loaded_by, **told})
    host.connector_data[_MEMORY][request] = (known, layout)
    return known


def forget(host: Host) -> None:
    """Drop what was read, since the host has changed."""
    host.connector_data.pop(_MEMORY, None)
