"""Going back by hand to the release before, without a deploy."""

from __future__ import annotations

from pathlib import Path

from ollama_fleet.deploys.visit import visit  # isort: skip - patches sockets for gevent, so it comes first
from paramiko.ssh_exception import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from ollama_fleet.api.errors import ApiError
from ollama_fleet.deploys.planning import plan_connected
from ollama_fleet.deploys.recording import rollback_record
from ollama_fleet.deploys.source import Source
from ollama_fleet.operations import snapshot
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.guard import Earlier, return_to, run_script
from ollama_fleet.operations.host_lock import acquire
from ollama_fleet.operations.record import now, send
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.fact import ProbeFailed
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec


class RollbackFailed(Exception):
    """A host that did not go back; one line."""


def roll_back(source: Source, path: Path, spec: HostSpec) -> str:
    """Let a host go back to the release before, with its unit and environment; returns what it went back to.

    Models stay as they are. What is left now is kept, so that the next call goes there again. The host's history
    tells of it.

    Args:
        source: the fleet, its lock and templates.
        path: of fleet.yaml.
        spec: of the host.

    Raises:
        RollbackFailed: nothing is kept, or the host serves what it served before, or cannot be reached.
        SpecErrors: an SSH key is not there.
    """

    def work(at: Host, spec: HostSpec) -> str | RollbackFailed:
        try:
            return _on(at, source, spec)
        except (StepFailed, ApiError, PlanError, ProbeError) as error:
            return RollbackFailed(str(error))
        except SpecErrors as error:
            return RollbackFailed("; ".join(map(str, error.errors)))
        except (ProbeFailed, PyinfraError):
            return RollbackFailed("the host could not be read")
        except (OSError, SSHException, EOFError) as error:
            return RollbackFailed(str(error) or type(error).__name__)

    (outcome,) = visit(path, [spec], work)
    if isinstance(outcome, RollbackFailed):
        raise outcome
    return outcome


def _on(at: Host, source: Source, spec: HostSpec) -> str:
    if not at.connected:
        raise StepFailed("no connection")
    plan, state = plan_connected(at, source, spec)
    _check(plan, state)
    layout, manager = plan.layout, plan.service.manager
    acquire(at, layout)
    kept = state.release.previous or ""
    record = rollback_record(source, f"to release {kept}" if kept else "to the release before", kept)
    run_script(at, layout, snapshot.take(layout, manager))
    try:
        back = return_to(at, layout, manager, directory=layout.kept)
        if back is None:
            raise StepFailed("no release is kept")
        _serves(at, back, plan)
    except (StepFailed, ApiError) as error:
        send(at, layout, record.finished("failed", now(), str(error)))
        again = return_to(at, layout, manager)
        if again is not None:
            _serves(at, again, plan)
        raise StepFailed(f"{error}; the host serves {again or 'what it served'} as before") from error
    run_script(at, layout, snapshot.settle(layout))
    send(at, layout, record.finished("ok", now()))
    return str(back)


def _check(plan: HostPlan, state: HostState) -> None:
    layout = plan.layout
    if layout.unproven in state.files:
        raise StepFailed("an apply has been cut off here; run it again, which ends it or goes back")
    if layout.kept not in state.files:
        raise StepFailed("no release before this one is kept here")
    before = state.release.previous
    if before is not None and before not in state.release.versions:
        raise StepFailed(f"release {before} has been removed; write it into fleet.yaml and apply")


def _serves(at: Host, back: Earlier, plan: HostPlan) -> None:
    back.serve(at, plan.layout, plan.loaded)
