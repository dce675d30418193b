"""Many hosts at once without a deploy: pyinfra's API mode, one greenlet per host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

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

from ollama_fleet.checks.interruption import interruptible
from ollama_fleet.deploys.host_entries import check_keys, host_entry, pyinfra_name
from ollama_fleet.spec.hosts import HostSpec

Result = TypeVar("Result")


def visit(path: Path, hosts: Sequence[HostSpec], work: Callable[[Host, HostSpec], Result]) -> list[Result]:
    """Connect to hosts and do something on each, all at once; returns what came of it, in the order of `hosts`.

    An interruption reaches the work of every host, which may put things in order before it ends.

    Args:
        path: of fleet.yaml.
        hosts: those to visit.
        work: gets a host, connected or not (`host.connected`), and what was asked of it; raises nothing.

    Raises:
        SpecErrors: an SSH key is not there.
    """
    check_keys(hosts)
    entries = {host.name: host_entry(host, path) for host in hosts}
    inventory = Inventory((list(entries.values()), {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]

    def one(spec: HostSpec) -> Result:
        host = inventory.get_host(pyinfra_name(entries[spec.name]))
        with ctx_host.use(host):
            return work(host, spec)

    with ctx_state.use(state), interruptible():
        state.set_stage(StateStage.Connect)
        # Raised when no host is left; each of them is the business of `work`.
        with contextlib.suppress(PyinfraError):
            connect_all(state)
        state.set_stage(StateStage.Prepare)
        jobs = [gevent.spawn(one, spec) for spec in hosts]
        try:
            gevent.joinall(jobs)
        finally:
            gevent.killall(jobs)
            disconnect_all(state)
    results = []
    for job in jobs:
        result: Result = job.get()
        results.append(result)
    return results
