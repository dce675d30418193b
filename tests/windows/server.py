"""The SSH server: what OpenSSH for Windows is to a client.

`python -m windows.server --prefix DIR --address 127.0.0.1 --port 0 --client-key FILE.pub --host-key FILE`: prints its
ports, and goes when its standard input closes. On a second port the default shell is PowerShell instead of cmd.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import asyncssh

from windows.machine import HOME, USER, Machine
from windows.programs import STUBS
from windows.values import Exited, NotModelledError, ThrownError, text
from windows.wine import Wine

ENCODED = re.compile(
    r"powershell(?:\.exe)? (?:-NoProfile |-NonInteractive |-ExecutionPolicy Bypass |-OutputFormat Text )*"
    r"-EncodedCommand ([A-Za-z0-9+/=]+)"
)
LONGEST_LINE = 8191
NOT_MODELLED = 250
"""The exit code where the stand-in gives up."""


class Stdin:
    """An SSH channel's input, read from a thread."""

    def __init__(self, process: asyncssh.SSHServerProcess[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._process, self._loop = process, loop

    def read(self) -> str:
        return self._wait(self._process.stdin.read())

    def readline(self) -> str:
        return self._wait(self._process.stdin.readline())

    def _wait(self, reading: Any) -> str:
        try:
            return bytes(asyncio.run_coroutine_threadsafe(reading, self._loop).result()).decode()
        except (asyncssh.Error, OSError):  # the client has gone
            return ""


class Desk:
    """One host behind its server."""

    def __init__(self, machine: Machine, shell: str, log: Path) -> None:
        self.machine = machine
        self.shell = shell
        self.log = log

    def note(self, **entry: Any) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    async def process(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run what an exec request asks for."""
        line = process.command or ""
        loop = asyncio.get_running_loop()

        stdin = Stdin(process, loop)

        def out(words: str) -> None:
            loop.call_soon_threadsafe(process.stdout.write, (words + "\r\n").encode())

        def error(words: str) -> None:
            loop.call_soon_threadsafe(process.stderr.write, (words + "\r\n").encode())

        code = await asyncio.to_thread(self.run, line, stdin, out, error)
        await asyncio.sleep(0)
        process.exit(code)

    def run(self, line: str, stdin: Any, out: Any, error: Any) -> int:
        """Run a command line as the default shell would; the exit code."""
        found = ENCODED.fullmatch(line)
        try:
            if len(line) > LONGEST_LINE:
                error("The command line is too long.")
                return 1
            if found:
                script = base64.b64decode(found[1]).decode("utf-16-le")
                self.note(kind="powershell", script=script)
                return self.powershell(script, stdin, out, error)
            self.note(kind=self.shell, line=line)
            if line == "shutdown /r /t 0":
                self.machine.reboot()
                return 0
            if self.shell == "powershell":
                return self.powershell(line, stdin, out, error)
            return self.cmd(line, out, error)
        except NotModelledError as gap:
            self.machine.missing.append(str(gap))
            self.note(kind="missing", what=str(gap))
            error(f"the stand-in for Windows does not know: {gap}")
            return NOT_MODELLED

    def powershell(self, script: str, stdin: Any, out: Any, error: Any) -> int:
        """Run a script; a script that reads another from its input runs that too."""
        interpreter = self.machine.interpreter(stdin, error)
        interpreter.variables["__out"] = out
        interpreter.told = lambda inner: self.note(kind="inner", script=inner)
        try:
            for value in interpreter.run(script):
                out(text(value))
        except SyntaxError as mistake:
            raise NotModelledError(f"PowerShell finds a syntax error: {mistake}") from None
        except ThrownError as thrown:
            error(str(thrown))
            return 1
        except Exited as exited:
            return exited.code
        finally:
            for file in interpreter.files:
                file.close()
        return 0

    def cmd(self, line: str, out: Any, error: Any) -> int:
        """Run a line in Wine's cmd, but nothing that Wine only pretends to do."""
        for part in re.split(r"[&|()]+", line):
            words = part.split()
            if words and words[0].lower().removesuffix(".exe").lstrip("@") in STUBS:
                raise NotModelledError(f"on a command line, {words[0]}")
        self.machine.variables = None
        code, stdout, stderr = self.machine.wine.cmd(line, HOME)
        for text_, tell in ((stdout, out), (stderr, error)):
            for row in text_.decode(errors="replace").replace("\r\n", "\n").splitlines():
                tell(row)
        return code


class Files(asyncssh.SFTPServer):
    """SFTP with the paths of Windows' OpenSSH: `C:/x`, `/C:/x`, and relative ones below the profile."""

    wine: Wine

    def map_path(self, path: bytes) -> bytes:
        words = path.decode()
        while re.match(r"/[A-Za-z]:", words):
            words = words[1:]
        if not re.match(r"[A-Za-z]:", words):
            words = f"{HOME}\\{words.lstrip('/')}"
        try:
            return str(self.wine.path(words)).encode()
        except ValueError:
            raise asyncssh.SFTPNoSuchFile(words) from None

    def realpath(self, path: bytes) -> bytes:
        words = path.decode()
        return words.encode() if re.match(r"/?[A-Za-z]:", words) else f"/{HOME}".replace("\\", "/").encode()


class Door(asyncssh.SSHServer):
    """Lets the one user in by key, and through to ports of the host."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


async def serve(options: argparse.Namespace) -> None:
    wine = Wine(options.prefix)
    wine.keep_warm()
    machine = Machine(wine, options.log.parent / "gpus.json")
    Files.wine = wine
    keys = options.log.parent / "authorized_keys"
    keys.write_text(options.client_key.read_text())
    servers = [
        await asyncssh.create_server(
            Door,
            options.address,
            port,
            server_host_keys=[str(options.host_key)],
            authorized_client_keys=str(keys),
            process_factory=Desk(machine, shell, options.log).process,
            sftp_factory=Files,
            encoding=None,
            agent_forwarding=False,
            server_version="OpenSSH_for_Windows_9.5",
        )
        for shell, port in (("cmd", options.port), ("powershell", 0))
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps({"ports": ports, "user": USER}), flush=True)
    try:
        await asyncio.to_thread(sys.stdin.read)
    finally:
        for server in servers:
            server.close()
        machine.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("prefix", "client-key", "host-key", "log"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
