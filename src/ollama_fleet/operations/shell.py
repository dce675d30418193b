"""Pieces of POSIX sh that several operations need. All arguments are quoted here, none before."""

from __future__ import annotations

import base64
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ollama_fleet.operations.context import remember_failure
from ollama_fleet.planner.layout import Layout


class Remembered(StringCommand):
    """A command whose complaint is kept, for the record of the apply."""

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> Any:
        """Run it as pyinfra does, and remember its last words where it fails."""
        done, output = super().execute(state, host, connector_arguments)
        if not done and (said := [line for line in output.stderr_lines if line.strip()]):
            remember_failure(host, said[-1].strip())
        return done, output


def script(*lines: str) -> StringCommand:
    """One command that stops at the first line that fails; what it makes others may read, whatever root's umask."""
    return Remembered("\n".join(["set -e", "umask 022", *lines]))


def write_file(path: str, content: bytes, *, mode: int, owner: str, group: str) -> str:
    """Write beside the file and move into place, so that a reader sees the old or the new, never a part."""
    beside = f"{path}.fleet-new"
    encoded = base64.b64encode(content).decode()
    return "\n".join(
        [
            f"mkdir -p {quote(str(PurePosixPath(path).parent))}",
            f"( umask 077; printf %s {encoded} | base64 -d >{quote(beside)} )",
            f"chown {quote(owner)}:{quote(group)} {quote(beside)}",
            f"chmod {mode:04o} {quote(beside)}",
            f"mv -fT {quote(beside)} {quote(path)}",
        ]
    )


def write_secret_file(path: str, content: bytes, *, mode: int, owner: str, group: str) -> StringCommand:
    """As `write_file`, with the content on standard input: it is in no command line that others could list."""
    lines = write_file(path, b"", mode=mode, owner=owner, group=group).replace(
        "printf %s  | base64", "base64"
    )
    return StringCommand("set -e\n" + lines, _stdin=base64.b64encode(content).decode())


def restart_is_due(layout: Layout) -> str:
    """Note on the host, before the server's files change, that it must be restarted whatever becomes of this run."""
    return f"mkdir -p {quote(layout.state)} && : >{quote(layout.restart_due)}"


def switch_link(path: str, target: str) -> str:
    """Point a link elsewhere in one step."""
    beside = f"{path}.fleet-new"
    return f"ln -sfn {quote(target)} {quote(beside)} && mv -fT {quote(beside)} {quote(path)}"
