"""Files of ours on a host, rendered: unit, drop-in, environment, supervisor, shell profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import SecretStr

from ollama_fleet.planner.before import Before
from ollama_fleet.planner.items.service import Manager
from ollama_fleet.planner.items.text_file import WantedFile, WantedLine
from ollama_fleet.planner.layout import MARK, Layout
from ollama_fleet.planner.render import Templates
from ollama_fleet.planner.state import HostState

CLIENT_VARIABLES = ("OLLAMA_HOST", "OLLAMA_MODELS")
"""What the `ollama` command of people's shells reads too."""


@dataclass(frozen=True, slots=True)
class HostFiles:
    """All files, apart by who reads them."""

    of_server: tuple[WantedFile, ...]
    """A change in one of these needs a restart."""
    of_shells: tuple[WantedFile, ...]
    lines: tuple[WantedLine, ...]


def host_files(
    layout: Layout,
    templates: Templates,
    manager: Manager,
    state: HostState,
    *,
    binary: str,
    environment: Mapping[str, str],
    secrets: Mapping[str, SecretStr],
) -> HostFiles:
    """Render the files of a host.

    Args:
        layout: where they go.
        templates: what they are made from.
        manager: who keeps the server running.
        state: the host, for a unit that somebody else made.
        binary: what the service runs.
        environment: the server's variables that anybody may see.
        secrets: those that nobody may see.

    Raises:
        RenderError: a template is missing or wrong.
    """
    foreign_unit = has_foreign_unit(state, layout)
    values = {
        "scope": layout.scope,
        "binary": binary,
        "service_user": layout.service_user,
        "service_group": layout.service_group,
        "environment_file": layout.environment,
        "state": layout.state,
        "service_home": layout.service_home,
        "models": layout.models,
        "command_directory": str(PurePosixPath(layout.command).parent),
    }
    owner, group = layout.service_user, layout.service_group
    if layout.scope == "system":
        owner = group = "root"

    def rendered(
        path: str, template: str, variables: Mapping[str, str], mode: int = 0o644, *, secret: bool = False
    ) -> WantedFile:
        text = templates.render(template, {**values, "environment": variables})
        return WantedFile(path, text.encode(), owner, group, mode, secret)

    hidden = {name: value.get_secret_value() for name, value in secrets.items()}
    everything = dict(sorted({**environment, **hidden}.items()))
    of_server = [rendered(layout.environment, "ollama-environment.j2", everything, 0o600, secret=True)]
    if manager == "supervisor":
        of_server.append(rendered(layout.supervisor, "ollama-supervise.sh.j2", {}, 0o700))
    else:
        of_server.append(rendered(layout.drop_in, "ollama-drop-in.conf.j2", {}))
        if not foreign_unit:
            of_server.append(rendered(layout.unit, "ollama.service.j2", {}))
    client = {name: environment[name] for name in CLIENT_VARIABLES}
    of_shells = (rendered(layout.profile, "ollama-profile.sh.j2", client),)
    line = login_line(layout)
    return HostFiles(tuple(of_server), of_shells, () if line is None else (line,))


def has_foreign_unit(state: HostState, layout: Layout) -> bool:
    """Whether somebody else made the unit: then it stays, and our drop-in overrides what must be ours."""
    there = state.files.get(layout.unit)
    if there is not None and there.kind == "file":
        if layout.unit in Before.of(state, layout).absent:
            return False  # we made it; whoever has written it since, an installer that ran again, say
        return f"Written by {MARK}".encode() not in (there.content or b"")[:200]
    return state.service.fragment not in ("", layout.unit) and state.service.load == "loaded"


def login_line(layout: Layout) -> WantedLine | None:
    """The line that makes shells read our profile; None where the system does so by itself."""
    if layout.login_profile is None:
        return None
    return WantedLine(layout.login_profile, f'[ ! -r "{layout.profile}" ] || . "{layout.profile}"  # {MARK}')
