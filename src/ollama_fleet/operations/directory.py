"""Directories of the service."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.shell import script
from ollama_fleet.planner.items.directory import WantedDirectory
from ollama_fleet.planner.layout import Scope


@operation()
def directories(
    wanted: Sequence[WantedDirectory], scope: Scope = "system", models_dir: str | None = None
) -> Generator[StringCommand, None, None]:
    """Create directories, give them their owner and mode, and let the owner reach them.

    Args:
        wanted: the directories, outer ones first.
        scope: whose layout the probe looks at.
        models_dir: where models lie, if not in Ollama's default place.
    """
    state, _ = look(scope, models_dir)
    commands = []
    for item in wanted:
        if not item.differences(state):
            continue
        path, owner = quote(item.path), f"{quote(item.owner)}:{quote(item.group)}"
        commands += [f"chmod o+x {quote(parent)}" for parent in item.closed_parents(state)]
        there = state.files.get(item.path)
        commands.append(f"mkdir -p {path}")
        # What lies in a directory of another owner was written by that owner too.
        deep = "-R " if there is not None and (there.owner, there.group) != (item.owner, item.group) else ""
        commands.append(f"chown {deep}{owner} {path}")
        commands.append(f"chmod {item.mode:04o} {path}")
    if not commands:
        host.noop("directories are as wanted")
        return
    mark_changed(host)
    yield script(*commands)
