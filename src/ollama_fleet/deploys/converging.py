"""The deploy: one probe, one plan, then each kind of item in its order, then the proof."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host as current_host

from ollama_fleet.checks.verify import verify
from ollama_fleet.deploys.planning import plan_connected
from ollama_fleet.deploys.progress.following import follow_host, keep_from_log
from ollama_fleet.deploys.recording import pending_record
from ollama_fleet.deploys.rollout import rollout, touched
from ollama_fleet.deploys.source import Source, load_source
from ollama_fleet.deploys.windows import prepare_windows
from ollama_fleet.operations import access, firewall, ollama
from ollama_fleet.operations.context import failing, has_changed
from ollama_fleet.operations.observer import observer_of
from ollama_fleet.operations.record import Pending
from ollama_fleet.planner.changes import change_lines
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.access import WantedAccess
from ollama_fleet.planner.state import HostState
from ollama_fleet.probe.fact import ProbeFailed, fail, forget
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.hosts import HostSpec


@deploy("ollama-fleet")
def converge() -> None:
    """Make the host at hand what fleet.yaml says, and prove it.

    A host that cannot be read or planned is failed with one line, and the others go on.
    """
    source, spec = _asked(current_host)
    follow_host(current_host)
    try:
        plan, state = plan_connected(current_host, source, spec)
    except ProbeFailed:
        return
    except (PlanError, ProbeError, SpecErrors) as error:
        fail(current_host, str(error))
        return
    except Exception as error:  # one host's trouble must not end the run of the others
        fail(current_host, f"this should not happen, please report it: {type(error).__name__}: {error}")
        return
    for line in change_lines(plan, state):
        current_host.log(line)
    if plan.shortage:
        fail(current_host, plan.shortage)
        return
    pending = pending_record(source, plan, state)
    keep_from_log(pending.secrets)
    changing = tuple(placement.created.name for placement in touched(plan, state))
    scope, models_dir = spec.place, spec.models_dir
    ollama.host_lock(
        name="Lock",
        needed=pending.needed,
        scope=scope,
        models_dir=models_dir,
    )
    ollama.record(name="Record", pending=pending, scope=scope, models_dir=models_dir)
    if spec.os == "windows":
        prepare_windows(spec, plan)
    else:
        _prepare_linux(spec, plan)
    _change(source, spec, plan, state)
    _conclude(source, spec, plan, pending, changing)


def _prepare_linux(spec: HostSpec, plan: HostPlan) -> None:
    """Everything that no running server notices; the rollout does the rest."""
    scope, models_dir = spec.place, spec.models_dir
    if plan.account:
        ollama.account(name="User of the service", models_dir=models_dir)
    ollama.directories(name="Directories", wanted=plan.directories, scope=scope, models_dir=models_dir)
    if plan.firewall:
        firewall.allow(
            name="Firewall",
            port=plan.firewall.ports,
            sources=plan.firewall.sources,
            present=plan.firewall.present,
            enabled=spec.firewall_enabled,
            backend=spec.firewall_backend,
            models_dir=models_dir,
        )
    ollama.stage(
        name="Release",
        version=plan.release.version,
        archives=plan.release.archives,
        download=spec.release.download,
        environment=plan.service.environment,
        scope=scope,
        models_dir=models_dir,
    )


def _change(source: Source, spec: HostSpec, plan: HostPlan, state: HostState) -> None:
    """The same operation on all hosts, since they take turns in it."""
    # Hosts without a front door, that is most, are not bothered with steps about it.
    wanted = plan.access if isinstance(plan.access, WantedAccess) else None
    given_up = wanted is None and plan.access is not None and bool(plan.access.differences(state))
    if wanted or given_up:
        ports = tuple(instance.port for instance in plan.instances)
        access.make_way(name="Front door out of the way", ports=ports, models_dir=spec.models_dir)
    rollout(name="Rollout", source=source, spec=spec, plan=plan, state=state)
    if wanted:
        access.door(name="Front door", wanted=wanted, models_dir=spec.models_dir)
    elif given_up:
        access.no_door(name="No front door", models_dir=spec.models_dir)


def _conclude(
    source: Source, spec: HostSpec, plan: HostPlan, pending: Pending, changing: Sequence[str]
) -> None:
    proof(name="Proof", source=source, spec=spec, touched=changing)
    ollama.prune(
        name="Prune",
        wanted=plan.pruned,
        listen=(plan.address, plan.port),
        scope=spec.place,
        models_dir=spec.models_dir,
        unit=plan.service.layout.service,
        beside=[(one.address, one.port) for one in plan.instances[1:]],
    )
    ollama.outcome(name="Outcome", pending=pending)


@operation()
def proof(
    source: Source, spec: HostSpec, touched: Sequence[str] = ()
) -> Generator[FunctionCommand, None, None]:
    """Check that the host is what was asked, and print its line of the summary.

    What the checks load goes again, so on a host that is right this reports no change; what is wrong becomes a
    command that fails with it. They run at execution only: in a dry run there is nothing to prove yet.

    Args:
        source: the fleet.
        spec: the host in it.
        touched: names of the models that this run changes; they are tried as deep as `verify` of the host says.
    """
    if not current_host.state.is_executing:
        return
    try:
        failures, summary = _verdict(current_host, source, spec, touched)
    except Exception as error:
        failures, summary = (f"{type(error).__name__}: {error}",), ""
    for failure in failures:
        yield failing(failure, "proof")
    if not failures:
        current_host.log_styled(summary, fg="green")
        observer_of(current_host).conclude(current_host, summary)


def _verdict(
    host: Host, source: Source, spec: HostSpec, touched: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    changed = has_changed(host)
    if changed:
        forget(host)
    try:
        plan, state = plan_connected(host, source, spec)
    except ProbeFailed:
        return ("the host could not be read after the changes",), ""
    except (PlanError, ProbeError, SpecErrors) as error:
        return (str(error),), ""
    verdict = verify(
        host,
        plan,
        state,
        depth=spec.verify if changed and touched else "quick",
        only=touched,
        just_changed=changed,
        closed_too=changed,
    )
    return tuple(map(str, verdict.all_failures)), verdict.summary


def _asked(host: Host) -> tuple[Source, HostSpec]:
    path, name = host.data.get("ollama_fleet_file"), host.data.get("ollama_fleet_host")
    if not path or not name:
        raise PyinfraError(
            f"{host.name} does not come from fleet.yaml; use `inventory` of ollama_fleet.deploys"
        )
    source = load_source(Path(path))
    return source, source.fleet.host(name)
