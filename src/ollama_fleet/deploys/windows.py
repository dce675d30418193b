"""What is different in the order of a Windows host."""

from __future__ import annotations

from collections.abc import Sequence

from ollama_fleet.deploys.source import Source
from ollama_fleet.operations import ollama as common
from ollama_fleet.operations.windows import firewall, ollama, release
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.items.windows.service import WindowsService
from ollama_fleet.spec.hosts import HostSpec


def converge_windows(source: Source, spec: HostSpec, plan: HostPlan, changing: Sequence[str]) -> None:
    """Everything up to the proof.

    Windows hosts take no turns, and do not go back by themselves where a change fails: the next run goes on.

    Args:
        source: the fleet.
        spec: of the host.
        plan: of the host.
        changing: names of the models that this run changes.
    """
    models_dir, listen = spec.models_dir, (plan.address, plan.port)
    ollama.directories(name="Directories", wanted=plan.directories, models_dir=models_dir)
    if plan.firewall:
        firewall.allow(
            name="Firewall",
            port=plan.firewall.port,
            sources=plan.firewall.sources,
            present=plan.firewall.present,
            models_dir=models_dir,
        )
    ollama.variables(name="System variables", wanted=plan.variables, models_dir=models_dir)
    if plan.desktop_app:
        ollama.desktop_app(name="Tray app", wanted=plan.desktop_app, models_dir=models_dir)
    ollama.files(name="Unit and environment", wanted=plan.files, models_dir=models_dir)
    release.release(
        name="Release",
        version=plan.release.version,
        archives=plan.release.archives,
        download=spec.release.download,
        models_dir=models_dir,
    )
    assert isinstance(plan.service, WindowsService)
    ollama.service(name="Service", wanted=plan.service, models_dir=models_dir)
    common.models(
        name="Models",
        bases=plan.bases,
        created=plan.models,
        folder=str(source.fleet.folder),
        listen=listen,
        scope="windows",
        models_dir=models_dir,
    )
    common.load(
        name="Preload",
        wanted=plan.loaded,
        changed=tuple(item.name for item in plan.loaded if item.name in changing),
        listen=listen,
        scope="windows",
        models_dir=models_dir,
    )
