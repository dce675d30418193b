"""The service's user."""

from __future__ import annotations

from collections.abc import Generator
from shlex import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import look, mark_changed
from ollama_fleet.operations.shell import script
from ollama_fleet.planner.items.account import WantedAccount


@operation()
def account(models_dir: str | None = None) -> Generator[StringCommand, None, None]:
    """Create the system user `ollama` with its group, in the groups that own GPU devices.

    Args:
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, layout = look("system", models_dir)
    wanted = WantedAccount(layout.service_user, layout.service_home)
    if not wanted.differences(state):
        host.noop(f"user {wanted.name} exists")
        return
    name, home = quote(wanted.name), quote(wanted.home)
    commands = []
    if wanted.name not in state.groups:
        commands.append(f"groupadd --system {name}")
    if wanted.name not in state.accounts:
        commands.append(
            f"useradd --system --gid {name} --home-dir {home} --create-home --shell /bin/false {name}"
        )
    if groups := wanted.supplementary(state):
        commands.append(f"usermod --append --groups {','.join(groups)} {name}")
    mark_changed(host)
    yield script(*commands)
