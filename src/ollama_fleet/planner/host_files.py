"""Files of ours on a host, rendered: unit, drop-in, environment, supervisor, shell profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import SecretStr

from ollama_fleet.hardware.device import Device
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
    devices: Sequence[Device] = (),
) -> HostFiles:
    """Render the files of a host with one server.

    Args:
        layout: where they go.
        templates: what they are made from.
        manager: who keeps the server running.
        state: the host, for a unit that somebody else made.
        binary: what the service runs.
        environment: the server's variables that anybody may see.
        secrets: those that nobody may see.
        devices: its GPUs, whose driver must be there before the server.

    Raises:
        RenderError: a template is missing or wrong.
    """
    foreign_unit = has_foreign_unit(state, layout)
    rendered = _Rendering(layout, templates, binary, devices)
    everything = _everything(environment, secrets)
    of_server = [rendered.file(layout.environment, "ollama-environment.j2", everything, 0o600, secret=True)]
    if manager == "supervisor":
        of_server.append(rendered.file(layout.supervisor, "ollama-supervise.sh.j2", {}, 0o700))
    else:
        of_server.append(rendered.file(layout.drop_in, "ollama-drop-in.conf.j2", {}))
        if not foreign_unit:
            of_server.append(rendered.file(layout.unit, "ollama.service.j2", {}))
    line = login_line(layout)
    of_shells = (rendered.profile(environment), *rendered.resume_hook())
    return HostFiles(tuple(of_server), of_shells, () if line is None else (line,))


def instance_files(
    layout: Layout,
    templates: Templates,
    *,
    binary: str,
    environments: Mapping[str, Mapping[str, str]],
    secrets: Mapping[str, SecretStr],
    note: str,
    devices: Sequence[Device],
) -> HostFiles:
    """Render the files of a host with several servers: one template of a unit, an environment for each.

    Args:
        layout: of the host.
        templates: what they are made from.
        binary: what the units run.
        environments: the variables of each server that anybody may see, by its name; the shells get the first one's.
        secrets: those of all servers that nobody may see.
        note: which server has which device.
        devices: all of theirs.

    Raises:
        RenderError: a template is missing or wrong.
    """
    rendered = _Rendering(layout, templates, binary, devices, several=True)
    of_server = [
        rendered.file(
            layout.for_instance(name).environment,
            "ollama-environment.j2",
            _everything(environment, secrets),
            0o600,
            secret=True,
        )
        for name, environment in environments.items()
    ]
    of_server.append(rendered.file(layout.instance_drop_in, "ollama-drop-in.conf.j2", {}))
    of_server.append(rendered.file(layout.instance_unit, "ollama.service.j2", {}))
    first = next(iter(environments.values()))
    noted = WantedFile(layout.instance_note, f"# Written by {MARK}.\n{note}".encode(), "root", "root")
    return HostFiles(tuple(of_server), (rendered.profile(first), noted, *rendered.resume_hook()), ())


class _Rendering:
    """Templates with what all files of a host have in common."""

    def __init__(
        self,
        layout: Layout,
        templates: Templates,
        binary: str,
        devices: Sequence[Device],
        *,
        several: bool = False,
    ) -> None:
        self.layout = layout
        self.templates = templates
        self.values = {
            "scope": layout.scope,
            "binary": binary,
            "service_user": layout.service_user,
            "service_group": layout.service_group,
            "environment_file": f"{layout.instances}/" if several else layout.environment,
            "state": layout.state,
            "service_home": layout.service_home,
            "models": layout.models,
            "command_directory": str(PurePosixPath(layout.command).parent),
            "several": several,
            "device_nodes": device_nodes(devices),
        }
        self.owner = (
            ("root", "root") if layout.scope == "system" else (layout.service_user, layout.service_group)
        )

    def file(
        self,
        path: str,
        template: str,
        variables: Mapping[str, str],
        mode: int = 0o644,
        *,
        secret: bool = False,
    ) -> WantedFile:
        """One file, rendered with these variables of the server."""
        text = self.templates.render(template, {**self.values, "environment": variables})
        return WantedFile(path, text.encode(), *self.owner, mode, secret)

    def resume_hook(self) -> tuple[WantedFile, ...]:
        """What starts the servers anew when the machine has slept; nothing where there is no GPU."""
        if not self.values["device_nodes"] or self.layout.scope != "system":
            return ()
        return (self.file(self.layout.resume_hook, "ollama-resume.sh.j2", {}, 0o755),)

    def profile(self, environment: Mapping[str, str]) -> WantedFile:
        """What people's shells read."""
        client = {name: environment[name] for name in CLIENT_VARIABLES}
        return self.file(self.layout.profile, "ollama-profile.sh.j2", client)


def device_nodes(devices: Sequence[Device]) -> list[str]:
    """Files of which one is there once the driver of these devices is: on a PC, under WSL, on a Jetson."""
    vendors = {device.vendor for device in devices}
    if "nvidia" in vendors:
        return ["/dev/nvidiactl", "/dev/dxg", "/dev/nvmap"]
    return ["/dev/kfd", "/dev/dxg"] if "amd" in vendors else []


def _everything(environment: Mapping[str, str], secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    hidden = {name: value.get_secret_value() for name, value in secrets.items()}
    return dict(sorted({**environment, **hidden}.items()))


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
