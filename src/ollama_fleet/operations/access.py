"""The front door: a proxy installed, configured and kept in step, or taken away."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from shlex import quote

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ollama_fleet.operations.context import failing, look, mark_changed
from ollama_fleet.operations.door_certificate import certificates
from ollama_fleet.operations.packages import install_command
from ollama_fleet.operations.shell import script, write_file, write_secret_file
from ollama_fleet.planner.items.access import NoAccess, WantedAccess, listens_on
from ollama_fleet.planner.items.access.places import (
    ALL,
    DUE,
    FOLDER,
    STATE,
    UNIT_NAME,
    USER,
)
from ollama_fleet.planner.state import HostState


@operation()
def door(
    wanted: WantedAccess, models_dir: str | None = None
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Install the proxy where it is missing, write its files, and let it read them; running streams go on.

    Certificates that it asks of an authority are waited for.

    Args:
        wanted: the door.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, _ = look("system", models_dir)
    altered = wanted.altered(state)
    if not altered and not wanted.differences(state):
        host.noop("the front door is as wanted")
        return
    mark_changed(host)
    if wanted.package not in state.door.programs:
        yield from _install(wanted.package, state)
    yield script(*_prepared(state))
    for file in altered:
        if file.secret:
            yield write_secret_file(
                file.path, file.content, mode=file.mode, owner=file.owner, group=file.group
            )
    yield script(
        *(
            write_file(file.path, file.content, mode=file.mode, owner=file.owner, group=file.group)
            for file in altered
            if not file.secret
        ),
        *(f"rm -f {quote(path)}" for path in wanted.unwanted if path in state.files),
        *_taken_up(wanted, state),
    )
    if wanted.certified:
        yield certificates(wanted)
    yield script(f"rm -f {quote(DUE)}")


@operation()
def make_way(ports: Sequence[int], models_dir: str | None = None) -> Generator[StringCommand, None, None]:
    """Stop a front door that holds a port which Ollama is about to take.

    Args:
        ports: of Ollama.
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, _ = look("system", models_dir)
    if listens_on(state) not in ports or state.door.active != "active":
        host.noop("the front door is not in the way")
        return
    mark_changed(host)
    yield script(f"systemctl stop {UNIT_NAME}")


@operation()
def no_door(models_dir: str | None = None) -> Generator[StringCommand, None, None]:
    """Take the front door away, with its tokens and its certificate authority; the package stays.

    Args:
        models_dir: where models lie, if not in Ollama's default place (only read, to share one probe).
    """
    state, _ = look("system", models_dir)
    if not NoAccess().differences(state):
        host.noop("there is no front door")
        return
    mark_changed(host)
    yield script(*removal())


def removal() -> list[str]:
    """Shell lines that take away all that is ours of the front door."""
    return [
        f"systemctl disable --now --quiet {UNIT_NAME} 2>/dev/null || true",
        f"rm -f {' '.join(map(quote, (*ALL, DUE)))}",
        f"rm -rf {quote(FOLDER)} {quote(STATE)}",
        "systemctl daemon-reload",
        f"! getent passwd {USER} >/dev/null || userdel {USER}",
        f"! getent group {USER} >/dev/null || groupdel {USER}",
    ]


def _install(package: str, state: HostState) -> Generator[StringCommand | FunctionCommand, None, None]:
    command = install_command(package, state.platform.tools)
    if command is None:
        reason = f"{package} is missing and there is no package manager that is known; install {package}"
        yield failing(reason, "front door")
        return
    # Masked while it is installed: the package's own service would show a page of its own to everybody.
    own = f"{package}.service"
    yield script(
        f"ln -sfn /dev/null /etc/systemd/system/{own}",
        f"{{ {command}; }} || {{ rm -f /etc/systemd/system/{own}; exit 1; }}",
        f"rm -f /etc/systemd/system/{own}",
        "systemctl daemon-reload",
        f"systemctl disable --quiet {own} 2>/dev/null || true",
    )


def _prepared(state: HostState) -> Sequence[str]:
    lines = []
    if not state.door.user:
        lines += [
            f"getent group {USER} >/dev/null || groupadd --system {USER}",
            f"useradd --system --gid {USER} --home-dir {quote(STATE)} --no-create-home "
            f"--shell /usr/sbin/nologin {USER}",
        ]
    return [*lines, f"mkdir -p {quote(DUE.rpartition('/')[0])} {quote(FOLDER)}", f": >{quote(DUE)}"]


def _taken_up(wanted: WantedAccess, state: HostState) -> Sequence[str]:
    lines = []
    if state.door.load == "masked" or state.door.enabled.startswith("masked"):
        lines.append(f"systemctl unmask --runtime --quiet {UNIT_NAME}")
    how = "restart" if wanted.restarts(state) else "reload-or-restart"
    return [
        *lines,
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNIT_NAME}",
        f"systemctl reset-failed {UNIT_NAME} 2>/dev/null || true",
        f"systemctl {how} {UNIT_NAME}",
    ]
