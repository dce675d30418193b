"""Taking hosts out of the fleet: what will go is shown, done, and looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paramiko.ssh_exception import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from ollama_fleet.deploys.visit import visit
from ollama_fleet.operations.retirement import retirement_script
from ollama_fleet.operations.windows import retirement as windows
from ollama_fleet.planner.errors import PlanError
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.retirement import Retirement, retirement
from ollama_fleet.planner.state import HostState
from ollama_fleet.planner.windows.plan import check_windows
from ollama_fleet.planner.windows.retirement import WindowsRetirement, windows_retirement
from ollama_fleet.probe.fact import ProbeFailed, forget, probe
from ollama_fleet.probe.read import ProbeError
from ollama_fleet.probe.request import ProbeRequest
from ollama_fleet.spec.hosts import HostSpec

TIMEOUT = 300
"""Seconds for the script; big models are removed in it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to do about models."""

    keep_models: bool = False
    all_models: bool = False


@dataclass(frozen=True, slots=True)
class Retiring:
    """What goes and stays on a host, or why that cannot be told or done."""

    host: str
    plan: Retirement | WindowsRetirement | None = None
    error: str | None = None


def look_at(path: Path, hosts: Sequence[HostSpec], wish: Wish) -> list[Retiring]:
    """Say what would go; nothing is changed. Raises SpecErrors where an SSH key is not there."""
    return visit(path, hosts, lambda host, spec: _look(host, spec, wish)[0])


def retire(path: Path, seen: Sequence[Retiring], hosts: Sequence[HostSpec], wish: Wish) -> list[Retiring]:
    """Take off what was shown, and look again; on success the plan that comes back has nothing left to go.

    Args:
        path: of fleet.yaml.
        seen: what `look_at` has said, for the same hosts.
        hosts: those to retire.
        wish: as for `look_at`.

    Raises:
        SpecErrors: an SSH key is not there.
    """
    shown = {item.host: item.plan for item in seen}
    return visit(path, hosts, lambda host, spec: _retire(host, spec, wish, shown[spec.name]))


def _look(host: Host, spec: HostSpec, wish: Wish) -> tuple[Retiring, HostState | None]:
    if not host.connected:
        return Retiring(spec.name, error="no connection"), None
    try:
        state, layout = probe(host, ProbeRequest(Layout.of(spec.place, spec.models_dir)))
    except (ProbeFailed, PyinfraError):
        return Retiring(spec.name, error="the host could not be read"), None
    except ProbeError as error:
        return Retiring(spec.name, error=str(error)), None
    if spec.os == "windows":
        return _look_at_windows(spec, state, layout, wish)
    if spec.scope == "system" and state.platform.uid != 0:
        advice = "set `sudo: true` or another ssh.user"
        return Retiring(spec.name, error=f"{state.platform.user} is not root there; {advice}"), None
    plan = retirement(spec, state, layout, keep_models=wish.keep_models, all_models=wish.all_models)
    return Retiring(spec.name, plan), state


def _look_at_windows(
    spec: HostSpec, state: HostState, layout: Layout, wish: Wish
) -> tuple[Retiring, HostState | None]:
    try:
        check_windows(state)
    except PlanError as error:
        return Retiring(spec.name, error=str(error)), None
    plan = windows_retirement(spec, state, layout, keep_models=wish.keep_models, all_models=wish.all_models)
    return Retiring(spec.name, plan), state


def _retire(host: Host, spec: HostSpec, wish: Wish, shown: Retirement | WindowsRetirement | None) -> Retiring:
    found, state = _look(host, spec, wish)
    if found.plan is None or state is None:
        return found
    if shown is None or (found.plan.goes, found.plan.stays) != (shown.goes, shown.stays):
        return Retiring(
            spec.name, error="the host has changed since it was shown; nothing was removed, run again"
        )
    plan = found.plan
    script = (
        windows.retirement_script(plan)
        if isinstance(plan, WindowsRetirement)
        else retirement_script(plan, state)
    )
    try:
        done, output = host.run_shell_command(
            StringCommand(script), _sudo=bool(host.data.get("_sudo")), _timeout=TIMEOUT
        )
    except (OSError, SSHException, EOFError) as error:
        return Retiring(
            spec.name, error=f"{str(error) or type(error).__name__}; run again to go on from here"
        )
    if not done:
        said = [line for line in output.stderr_lines if line.strip()] or ["a step failed"]
        return Retiring(spec.name, error=f"{said[-1].strip()}; run again to go on from here")
    forget(host)
    left, _ = _look(host, spec, wish)
    if left.plan is not None and left.plan.goes:
        return Retiring(spec.name, left.plan, f"still there: {'; '.join(left.plan.goes)}")
    return left
