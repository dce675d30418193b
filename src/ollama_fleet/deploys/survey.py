"""Reading many hosts at once without a deploy: pyinfra's API mode, one command per host."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

# First of all pyinfra: its command line patches sockets and threads for gevent, which must precede their use.
import pyinfra_cli  # noqa: F401  isort: skip
import gevent
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from ollama_fleet.deploys.inventory import check_keys, host_entry
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
    check_keys(hosts)
    entries = {host.name: host_entry(host, path) for host in hosts}
    inventory = Inventory((list(entries.values()), {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    with ctx_state.use(state):
        state.set_stage(StateStage.Connect)
        # Raised when no host is left; each of them is reported below.
        with contextlib.suppress(PyinfraError):
            connect_all(state)
        state.set_stage(StateStage.Prepare)
        connected = {name: inventory.get_host(entry[0]) for name, entry in entries.items()}
        jobs = [gevent.spawn(_one, connected[spec.name], source, spec) for spec in hosts]
        gevent.joinall(jobs)
        disconnect_all(state)
    return [_result(job) for job in jobs]


def _result(job: gevent.Greenlet[..., Surveyed]) -> Surveyed:
    found: Surveyed = job.get()
    return found


def _one(host: Host, source: Source, spec: HostSpec) -> Surveyed:
    if not host.connected:
        return Surveyed(spec.name, None, None, "no connection")
    with ctx_host.use(host):
        try:
            plan, state = plan_connected(host, source, spec)
        except (ProbeFailed, PyinfraError):
            return Surveyed(spec.name, None, None, "the host could not be read")
        except (PlanError, ProbeError, SpecErrors) as error:
            return Surveyed(spec.name, None, None, str(error))
        except Exception as error:  # one host's trouble must not end the survey of the others
            reason = f"this should not happen, please report it: {type(error).__name__}: {error}"
            return Surveyed(spec.name, None, None, reason)
    return Surveyed(spec.name, plan, state, None)
