"""The connector `@windows/NAME`: OpenSSH for Windows, with PowerShell 5.1 at the other end.

Every command is a PowerShell script, whatever OpenSSH's default shell is. For Windows 10, 11, Server 2019 and later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

import click
from paramiko.channel import Channel
from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, read_output_buffers

from ollama_fleet.connectors.powershell import command_line, framed, readable
from ollama_fleet.planner.windows.quoting import literal

OTHER_USERS = ("_sudo", "_sudo_user", "_su_user", "_doas", "_doas_user", "_dzdo", "_dzdo_user")
SUCCESS = (0,)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class WindowsConnector(SSHConnector):
    """pyinfra's SSH connector for hosts that speak PowerShell."""

    handles_execution = True

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, str], list[str]]]:
        """`@windows/NAME` is the host NAME."""
        if not name:
            raise PyinfraError("@windows needs a host: @windows/NAME")
        yield name, {"ssh_hostname": name}, []

    def run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run a PowerShell script; it stops at its first error. Its exit code is kept.

        Raises:
            PyinfraError: another user is asked for.
        """
        _refuse_other_users(arguments)
        text = command if isinstance(command, str) else command.get_raw_value()
        line, stdin = command_line(framed(_surrounded(text, arguments)))
        logger.debug("Running PowerShell on %s: %s", self.host.name, command)
        if print_input:
            click.echo(f"{self.host.print_prefix}>>> {command}", err=True)
        channel = self._session()
        channel.exec_command(line)
        channel.sendall((stdin + _stdin_text(arguments.get("_stdin"))).encode())
        channel.shutdown_write()
        output = read_output_buffers(
            _lines(channel.makefile("rb")),
            _said(channel.makefile_stderr("rb")),
            timeout=arguments.get("_timeout"),
            print_output=print_output,
            print_prefix=self.host.print_prefix,
        )
        expected = arguments.get("_success_exit_codes") or SUCCESS
        return channel.recv_exit_status() in expected, output

    def put_file(  # type: ignore[override]
        self,
        filename_or_io: str | IO[bytes],
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Upload to a path such as `D:\\Models\\x`; one without a drive is below the account's profile."""
        _refuse_other_users(arguments)
        self._put_file(filename_or_io, sftp_path(remote_filename))  # type: ignore[no-untyped-call]
        if print_output:
            click.echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    def get_file(  # type: ignore[override]
        self,
        remote_filename: str,
        filename_or_io: str | IO[bytes],
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Download from a path such as `D:\\Models\\x`."""
        _refuse_other_users(arguments)
        self._get_file(sftp_path(remote_filename), filename_or_io)
        if print_output:
            click.echo(f"{self.host.print_prefix}file downloaded: {remote_filename}", err=True)
        return True

    def check_can_rsync(self) -> None:
        """Refuse: Windows has no rsync."""
        raise NotImplementedError("there is no rsync on Windows")

    def _session(self) -> Channel:
        assert self.client is not None
        transport = self.client.get_transport()
        assert transport is not None
        return transport.open_session()


def sftp_path(path: str) -> str:
    """A path with a drive as OpenSSH's SFTP server takes it: `/D:/Models/x`."""
    slashes = path.replace("\\", "/")
    return f"/{slashes}" if _DRIVE.match(path) else slashes


def _refuse_other_users(arguments: dict[str, Any]) -> None:
    asked = [name for name in OTHER_USERS if arguments.get(name)]
    if asked:
        raise PyinfraError(
            f"{asked[0].removeprefix('_')} is of no use on Windows: connect as an administrator; over SSH that account "
            "has its full rights"
        )


def _surrounded(script: str, arguments: dict[str, Any]) -> str:
    lines = [
        f"[Environment]::SetEnvironmentVariable({literal(name)}, {literal(str(value))})"
        for name, value in (arguments.get("_env") or {}).items()
    ]
    if arguments.get("_chdir"):
        lines.append(f"Set-Location -LiteralPath {literal(arguments['_chdir'])}")
    return "\n".join([*lines, script])


def _stdin_text(given: str | Iterable[str] | None) -> str:
    if given is None:
        return ""
    lines = [given] if isinstance(given, str) else list(given)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    for line in stream:
        yield line.decode(errors="replace").rstrip("\r\n")


def _said(stream: Iterable[bytes]) -> Iterator[str]:
    for line in _lines(stream):
        told = readable(line)
        if told is not None:
            yield from told.splitlines() or [""]
