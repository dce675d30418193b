"""Reading many hosts at once without a deploy, one command per host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from ollama_fleet.deploys.planning import plan_connected
from ollama_fleet.deploys.source import Source
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.probe.fact import ProbeFailed
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec


def survey(source: Source, path: Path, hosts: Sequence[HostSpec]) -> list[Surveyed]:
    """Connect to hosts, read and plan each; one that fails does not stop the others.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml.
        hosts: those to look at.

    Raises:
        SpecErrors: an SSH key is not there.
    """
    return visit(path, hosts, lambda host, spec: look(host, source, spec))


def look(host: Host, source: Source, spec: HostSpec) -> Surveyed:
    """Read and plan one host, connected or not; raises nothing."""
    if not host.connected:
        return Surveyed(spec.name, None, None, "no connection")
    try:
        plan, state = plan_connected(host, source, spec)
    except (ProbeFailed, PyinfraError):
        return Surveyed(spec.name, None, None, "the host could not be read")
    except (PlanError, ProbeError, SpecErrors) as error:
        return Surveyed(spec.name, None, None, str(error))
    except Exception as error:  # one host's trouble must not end the survey of the others
        reason = f"this should not happen, please report it: {type(error).__name__}: {error}"
        return Surveyed(spec.name, None, None, reason)
    return Surveyed(spec.name, plan, state, plan.shortage)
