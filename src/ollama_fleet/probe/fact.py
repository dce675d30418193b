"""The probe as a pyinfra fact, and its memory for the length of one run.

pyinfra reads a fact anew each time it is asked for. One run asks many times for the same host, so what was
read is kept with the host's connection, until something has been changed and the checks want to look again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyinfra import logger
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host

from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe import read
from ollama_fleet.probe.request import ProbeRequest

_MEMORY = "ollama_fleet.probe"
TIMEOUT = 120
"""Seconds for the one command; what it runs is bounded too, but a dying disk is not."""


class OllamaHost(FactBase[list[str]]):
    """Lines that the probe's script prints; `read` makes a HostState of them."""

    def command(self, scope: Scope = "system", models_dir: str | None = None) -> str:
        """Return the script for a scope and a models directory."""
        return read.script(ProbeRequest(Layout.of(scope, models_dir)))

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
            lines = host.get_fact(OllamaHost, **arguments, _timeout=TIMEOUT)
        except (EOFError, OSError) as error:
            # sudo asked for a password and there is nobody to ask.
            logger.error(
                f"{host.print_prefix}no answer to a question for a password ({str(error) or 'no terminal'})"
            )
            host.state.fail_hosts({host})  # type: ignore[no-untyped-call]
            raise ProbeFailed from error
        if not lines:
            raise ProbeFailed
        memory[request] = read.parse(lines, request)
    return memory[request]


def remember(host: Host, request: ProbeRequest, loaded: tuple[str, ...] | None) -> HostState:
    """Add to what was read the names of the models in memory, which only the server knows; returns it all."""
    state, layout = probe(host, request)
    known = replace(state, loaded=loaded)
    host.connector_data[_MEMORY][request] = (known, layout)
    return known


def forget(host: Host) -> None:
    """Drop what was read, since the host has changed."""
    host.connector_data.pop(_MEMORY, None)
