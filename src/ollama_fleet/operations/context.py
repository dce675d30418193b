"""What every operation begins with: the host at hand, what was read of it, and the layout there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paramiko.ssh_exception import SSHException
from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host as current_host

from ollama_fleet.operations.observer import observer_of
from ollama_fleet.planner.layout import Layout, Scope
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.fact import probe
from ollama_fleet.probe.request import ProbeRequest

_CHANGED = "ollama_fleet.changed"
_FAILURE = "ollama_fleet.failure"
_LOADED = "ollama_fleet.loaded"


def look(scope: Scope, models_dir: str | None) -> tuple[HostState, Layout]:
    """Return the state of the host at hand and the layout there."""
    return probe(current_host, ProbeRequest(Layout.of(scope, models_dir)))


def mark_changed(host: Host) -> None:
    """Remember that the probe's answer is out of date."""
    host.connector_data[_CHANGED] = True


def mark_loaded(host: Host, models: Sequence[str]) -> None:
    """Remember which models this run loads."""
    host.connector_data[_LOADED] = (*just_loaded(host), *models)


def just_loaded(host: Host) -> tuple[str, ...]:
    """Names of the models that this run has loaded."""
    return tuple(host.connector_data.get(_LOADED, ()))


def has_changed(host: Host) -> bool:
    """Whether an operation of ours has changed the host in this run."""
    return bool(host.connector_data.get(_CHANGED))


def remember_failure(host: Host, reason: str) -> None:
    """Keep why a step failed, for the record of the apply."""
    host.connector_data[_FAILURE] = reason


def failure_of(host: Host) -> str:
    """Why the last step failed; empty where none has said so."""
    return str(host.connector_data.get(_FAILURE, ""))


def step(function: Callable[[Host], None], what: str, doing: str = "") -> FunctionCommand:
    """A command that runs Python at execution; an expected error fails this host with one line.

    An exception that left the function would end the run of all hosts, or print a traceback.

    Args:
        function: what to run.
        what: begins the line that says why it failed.
        doing: what to tell those who watch, such as `loading reasoner`; nothing of what takes no time.
    """

    def run(state: State, host: Host) -> bool:
        try:
            if doing:
                observer_of(host).begin(host, doing)
            function(host)
        except (StepFailed, OSError, SSHException, EOFError) as error:
            reason = f"{what}: {str(error) or type(error).__name__}"
            logger.error(f"{host.print_prefix}{reason}")
            remember_failure(host, reason)
            return False
        return True

    return FunctionCommand(run, (), {})


def failing(reason: str, what: str) -> FunctionCommand:
    """A command that fails this host at execution, with one line that begins with `what`."""

    def fail(_: Host) -> None:
        raise StepFailed(reason)

    return step(fail, what)


class StepFailed(Exception):
    """Something that can go wrong on a host; one line, with what to do about it."""
