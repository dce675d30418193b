"""What is different in the order of a Windows host."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.command import PyinfraCommand

from ollama_fleet.operations.windows import firewall, ollama, release
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.windows.service import WindowsService
from ollama_fleet.planner.state import HostState
from ollama_fleet.spec.hosts import HostSpec


def prepare_windows(spec: HostSpec, plan: HostPlan) -> None:
    """Everything that no running server notices; the rollout does the rest."""
    models_dir = spec.models_dir
    ollama.directories(name="Directories", wanted=plan.directories, models_dir=models_dir)
    if plan.firewall:
        firewall.allow(
            name="Firewall",
            port=plan.firewall.ports,
            sources=plan.firewall.sources,
            present=plan.firewall.present,
            models_dir=models_dir,
        )
    release.stage(
        name="Release",
        version=plan.release.version,
        archives=plan.release.archives,
        download=spec.release.download,
        models_dir=models_dir,
    )


def server_of_windows(spec: HostSpec, plan: HostPlan) -> Iterator[PyinfraCommand]:
    """Commands up to the running server: the system's variables, the script that starts it, its release, its task.

    Of several servers that is a script and a task each.
    """
    models_dir = spec.models_dir
    yield from ollama.variables._inner(wanted=plan.variables, models_dir=models_dir)
    yield from ollama.files._inner(wanted=plan.files, models_dir=models_dir)
    yield from release.use._inner(plan.release.version, plan.release.archives, models_dir=models_dir)
    if plan.desktop_app:
        yield from ollama.desktop_app._inner(wanted=plan.desktop_app, models_dir=models_dir)
    if plan.several or plan.gone:
        named = [instance.service for instance in plan.instances if instance.name]
        several = [one for one in named if isinstance(one, WindowsService)]
        yield from ollama.instances._inner(wanted=several, gone=plan.gone, models_dir=models_dir)
    if plan.several:
        return
    assert isinstance(plan.service, WindowsService)
    yield from ollama.service._inner(wanted=plan.service, models_dir=models_dir)


def can_come_back(plan: HostPlan, state: HostState) -> bool:
    """Whether tasks of ours run the servers. One started by hand could not be started again over SSH."""
    windows = state.windows
    if windows is None:
        return False
    return bool(windows.tasks) or (windows.task is not None and plan.layout.environment in state.files)
