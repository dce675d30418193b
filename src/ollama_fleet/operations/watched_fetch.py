"""A download that a host does by itself, watched: its file is looked at now and then, beside the command."""

from __future__ import annotations

from shlex import quote
from typing import Any

import gevent
from gevent.event import Event
from paramiko.ssh_exception import SSHException
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ollama_fleet.operations.observer import observer_of
from ollama_fleet.planner.items.release import Archive

LOOK_EVERY = 2.0
"""Seconds: each look is a command on the host, so a download that takes less costs none."""
LOOK_WITHIN = 20
"""Seconds for the host to answer."""


class WatchedFetch(StringCommand):
    """A command that fetches an archive into a file; those who watch are told how much of it is there."""

    def __init__(self, inner: StringCommand, archive: Archive, part: str) -> None:
        super().__init__(*inner.bits, _separator=inner.separator)
        self.inner = inner
        self.archive = archive
        self.part = part

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> Any:
        """Run the command as it is, and look at its file meanwhile."""
        observer, over = observer_of(host), Event()
        observer.expect(host, self.archive.name, self.archive.size or 0)
        observer.begin(host, f"fetching {self.archive.name}")
        watching = gevent.spawn(self._watch, host, over)
        try:
            done, output = self.inner.execute(state, host, connector_arguments)
        finally:
            over.set()
            watching.join()
        if done:
            observer.complete(host, self.archive.name)
        return done, output

    def _watch(self, at: Host, over: Event) -> None:
        observer = observer_of(at)
        look = StringCommand(f"stat -c %s {quote(self.part)} 2>/dev/null")
        while not over.wait(LOOK_EVERY):
            try:
                told, output = at.run_shell_command(
                    look, _sudo=bool(at.data.get("_sudo")), _timeout=LOOK_WITHIN
                )
            except (OSError, SSHException, EOFError):
                return  # what has become of the connection the command itself finds out
            if told and (size := output.stdout.strip()).isdigit():
                total = self.archive.size or 0
                observer.transfer(at, self.archive.name, "fetching", self.archive.sha256, int(size), total)
