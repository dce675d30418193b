"""Commands under guard: where one of them fails, the host goes back to what it was before the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from paramiko.ssh_exception import SSHException
from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.api.util import print_host_combined_output

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.through import is_connected, server_of
from ollama_fleet.operations import snapshot
from ollama_fleet.operations.context import StepFailed, step
from ollama_fleet.operations.readiness import LOST, expect_another_process, wait_until_ready
from ollama_fleet.operations.shell import script
from ollama_fleet.operations.windows.script import powershell
from ollama_fleet.planner.items.model import WantedLoaded
from ollama_fleet.planner.items.service import Manager
from ollama_fleet.planner.layout import Layout
from ollama_fleet.spec.addresses import DEFAULT_LISTEN, parse_listen
from ollama_fleet.spec.errors import Wrong


@dataclass(frozen=True, slots=True)
class Guard:
    """What it takes to bring a host back."""

    layout: Layout
    manager: Manager
    created: Sequence[str]
    """Manifests below `manifests/` that this run makes."""
    loaded: Sequence[WantedLoaded]
    """Models that were in memory, or should have been."""
    ended: Callable[[bool], None]
    """Is told once how it went."""

    def over(self, commands: Iterable[PyinfraCommand]) -> Iterator[PyinfraCommand]:
        """Take the snapshot, run the commands, and keep what was before; go back where one of them fails."""
        first = _command(self.layout, snapshot.take(self.layout, self.manager))
        last = _command(self.layout, snapshot.settle(self.layout))
        yield from watched((first, *commands, last), self.ended, self.come_back)

    def come_back(self, at: Host) -> None:
        """Make the host as it was, and say so."""
        try:
            if not is_connected(at):
                return  # which has been told; the next run goes on from here, with the same snapshot
            was = return_to(at, self.layout, self.manager, created=self.created)
            if was is None:
                return
            unloaded = was.serve(at, self.layout, self.loaded)
        except (StepFailed, ApiError, OSError, SSHException, EOFError) as error:
            reason = str(error) or type(error).__name__
            logger.error(f"{at.print_prefix}could not go back to what was before: {reason}")
        else:
            told = f"went back to {was} with its environment and models; it serves"
            logger.warning(f"{at.print_prefix}{told}{unloaded and f', but {unloaded}'}")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a host has gone back to."""

    release: str
    """The version; empty where somebody else installed it."""
    servers: tuple[tuple[str, str, int], ...]
    """Name of the instance, empty for the only server, and where it listens."""

    def __str__(self) -> str:
        return f"release {self.release}" if self.release else "the release before"

    def serve(self, at: Host, layout: Layout, wanted: Sequence[WantedLoaded]) -> str:
        """Wait until its servers serve, and load what should be in memory; why that failed, or nothing.

        Raises:
            StepFailed: a server does not serve, or not what it served.
        """
        troubles = []
        for name, address, port in self.servers:
            own = layout.for_instance(name) if name else layout
            with server_of(at, address, port) as server:
                version = wait_until_ready(at, server, layout.scope, unit=own.service)
                if self.release and version != self.release:
                    raise StepFailed(f"the server says version {version}, before it was {self.release}")
                # Whoever goes back between one server and several has other instances than those of the plan.
                mine = [item for item in wanted if item.instance == name or len(self.servers) == 1]
                troubles.append(_load(server, mine))
        return next((trouble for trouble in troubles if trouble), "")


def _load(server: Ollama, wanted: Sequence[WantedLoaded]) -> str:
    try:
        there = {model.name for model in server.tags()}
        for item in wanted:
            if item.model.short in there:
                server.load(item.model.short, item.keep_alive_value)
    except ApiError as error:
        return f"its models are not in memory: {error}"
    return ""


def return_to(
    at: Host,
    layout: Layout,
    manager: Manager,
    *,
    created: Sequence[str] = (),
    directory: str | None = None,
) -> Earlier | None:
    """Make a host as in a snapshot; None where there is none. Arguments as for `snapshot.put_back`.

    Raises:
        StepFailed: the host refused.
    """
    expect_another_process(at)
    lines = snapshot.put_back(layout, manager, created=created, snapshot=directory)
    told = run_script(at, layout, lines)
    said = dict(line.partition(" ")[::2] for line in told)
    if "nothing" in said:
        return None
    named = [line.split() for line in told if line.startswith("instance ")]
    servers = [(words[1], *_listen(words[2])) for words in named if len(words) == 3]
    return Earlier(said.get("release", ""), tuple(servers) or (("", *_listen(said.get("listen", ""))),))


def _listen(text: str) -> tuple[str, int]:
    try:
        listen = parse_listen(text)
    except Wrong:
        listen = DEFAULT_LISTEN
    return str(listen.host), listen.port


def run_script(at: Host, layout: Layout, lines: Sequence[str]) -> list[str]:
    """Run lines of sh, or PowerShell, on a host; what they printed. Raises StepFailed where they fail."""
    well, output = at.run_shell_command(_command(layout, lines), _sudo=bool(at.data.get("_sudo")))
    if not well:
        raise StepFailed(" ".join(output.stderr_lines)[-200:] or "the host refused")
    return output.stdout_lines


def _command(layout: Layout, lines: Sequence[str]) -> StringCommand:
    return powershell(*lines) if layout.scope == "windows" else script(*lines)


def watched(
    commands: Iterable[PyinfraCommand],
    ended: Callable[[bool], None],
    failed: Callable[[Host], None] = lambda _: None,
) -> Iterator[PyinfraCommand]:
    """Run commands and tell how it ended; where one fails, see to the host first."""
    for command in (*commands, step(lambda _: ended(True), "rollout")):
        yield _Watched(command, ended, failed)


class _Watched(FunctionCommand):
    """A command that something follows from where it fails."""

    def __init__(
        self, inner: PyinfraCommand, ended: Callable[[bool], None], failed: Callable[[Host], None]
    ) -> None:
        super().__init__(_watched, (), {})
        self.inner = inner
        self.ended = ended
        self.failed = failed

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> bool:
        """Run the command with the options of the operation, as pyinfra would."""
        try:
            if executed(self.inner, state, host, connector_arguments):
                return True
            self.failed(host)
        except BaseException:
            self.ended(False)
            raise
        self.ended(False)
        return False


def _watched() -> None:
    """What pyinfra shows of a watched command is this name."""


def executed(
    command: PyinfraCommand, state: State, host: Host, connector_arguments: ConnectorArguments
) -> bool:
    """Run a command as pyinfra itself does, and say what it says where it fails."""
    arguments = connector_arguments.copy()
    arguments.update(command.connector_arguments)
    try:
        if isinstance(command, StringCommand):
            well, output = command.execute(state, host, arguments)
            if not well and not is_connected(host):
                logger.error(f"{host.print_prefix}rollout: {LOST}")
            elif not well and not state.print_output:
                print_host_combined_output(host, output)
            return bool(well)
        return command.execute(state, host, arguments) is not False
    except (TimeoutError, OSError, SSHException, EOFError) as error:
        reason = (str(error) or type(error).__name__) if is_connected(host) else LOST
    except Exception as error:  # whatever it is, the host is to go back
        reason = f"this should not happen, please report it: {type(error).__name__}: {error}"
    logger.error(f"{host.print_prefix}rollout: {reason}")
    return False
