"""Draw docs/terminal.svg: a session on two hosts of the lab, recorded as it happens.

    python docs/terminal.py        as root; takes half a minute and leaves nothing but the picture

The hosts install the stand-in release, so that the picture can be made anew without a download. Nothing is typed by
hand: what a long run says in the middle is left out, and the place is marked.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import textwrap
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/terminal.svg"
WIDTH = 96
"""Columns."""
VERSION = "0.24.0"
APPLY = "pyinfra -y inventory/hosts.py deploy.py"
ENVIRONMENT_FILE = "/etc/ollama-fleet/environment"

sys.path.insert(0, str(ROOT / "tests"))

from lab import Lab  # noqa: E402 - lies in tests/
from lab.tiny_gguf import tiny_gguf  # noqa: E402
from ollama_sim.build import build_release  # noqa: E402


class Session:
    """A terminal on the machine that deploys: what is typed, and what comes back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)

    def run(
        self, command: str, *, since: str | None = None, until: str | None = None, expect: int = 0
    ) -> None:
        """Run a command and keep its output, or the lines from one with `since` to the one before `until`.

        Raises:
            SystemExit: the exit code is not the expected one, or the lines are not there.
        """
        code, lines = _on_terminal(command, self.directory)
        if code != expect:
            raise SystemExit(f"{command}: exit code {code}\n" + "\n".join(line.plain for line in lines))
        self._prompt("$", command)
        for line in _part(lines, since, until):
            self.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        self.console.print()

    def by_hand(self, host: str, command: str) -> None:
        """Show a command that was typed on a host."""
        self._prompt(f"root@{host}#", command)
        self.console.print()

    def _prompt(self, prompt: str, command: str) -> None:
        self.console.print(Text.assemble((prompt, "green"), " ", (command, "bold")))

    def svg(self) -> str:
        """Return the picture, without the web font that it would load from elsewhere."""
        drawn = self.console.export_svg(title="one YAML file, two hosts")
        return re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", drawn, flags=re.DOTALL)


def _on_terminal(command: str, directory: Path) -> tuple[int, list[Text]]:
    """Run a command of this environment on a terminal of its own; returns its exit code and its lines."""
    own_end, its_end = pty.openpty()
    words = command.split()
    process = subprocess.Popen(  # noqa: S603 - the commands stand below
        [str(Path(sys.executable).parent / words[0]), *words[1:]],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"},
    )
    os.close(its_end)
    received = b""
    while True:
        try:
            received += os.read(own_end, 65536)
        except OSError:  # the other end is closed
            break
    os.close(own_end)
    return process.wait(), [_line(line) for line in received.decode().replace("\r\n", "\n").split("\n")]


def _line(raw: str) -> Text:
    """A line as it stays: what a progress bar has overwritten or erased is gone."""
    return Text.from_ansi(re.split(r"\r|\x1b\[K", raw)[-1])


def _part(lines: list[Text], since: str | None, until: str | None) -> list[Text]:
    while lines and not lines[-1].plain.strip():
        lines.pop()
    first = next((at for at, line in enumerate(lines) if since is None or since in line.plain), None)
    last = next(
        (at for at, line in enumerate(lines) if until is not None and until in line.plain), len(lines)
    )
    if first is None:
        raise SystemExit(f"no line says {since}")
    shown = lines[first:last]
    while shown and not shown[-1].plain.strip():
        shown.pop()
    left_out = Text("    ⋮", "dim")
    return [*([left_out] if first else []), *shown]


def main() -> None:
    """Record the session and write the picture."""
    with (
        tempfile.TemporaryDirectory(prefix="ollama-fleet-picture-") as temporary,
        Lab.start("picture") as lab,
    ):
        directory = Path(temporary)
        fleet = _fleet(lab, directory)
        session = Session(directory)
        _on_terminal("ollama-fleet init", directory)
        (directory / "fleet.yaml").write_text(fleet)
        session.run("ollama-fleet validate")
        session.run("ollama-fleet lock")
        session.run(APPLY, since="ollama-fleet | Proof", until="--> Results")
        session.run(APPLY, since="--> Results", until="Disconnecting")
        edit = f"sed -i s/24h/5m/ {ENVIRONMENT_FILE}"
        lab.all_hosts[0].run(edit)
        session.by_hand("gpu-01", edit)
        session.run("ollama-fleet drift", expect=2)
        session.run(APPLY, since="ollama-fleet | Proof", until="--> Results")
        session.run("ollama-fleet drift")
        TARGET.write_text(session.svg(), encoding="utf-8")


def _fleet(lab: Lab, directory: Path) -> str:
    """Boot the hosts, publish a model and a release; returns the fleet file."""
    one, two = lab.hosts({"gpu-01": {"firewall": "ufw"}, "gpu-02": {"firewall": "nftables"}})
    lab.registry.push_gguf(
        "library/tiny", tiny_gguf(directory / "tiny.gguf"), parameters={"temperature": 0.7}
    )
    for architecture in ("amd64", "arm64"):
        archive = build_release(VERSION, architecture, "tar.zst", directory / "releases")
        lab.registry.publish(archive, f"{VERSION}/{archive.name}")
    sums = directory / "releases/sha256sum.txt"
    lab.registry.publish(sums, f"{VERSION}/{sums.name}")
    return textwrap.dedent(f"""\
        version: 1
        release: {{version: {VERSION}, source: '{lab.registry.files_url}{VERSION}'}}
        defaults:
          listen: 0.0.0.0:11434
          env: {{OLLAMA_KEEP_ALIVE: 24h}}
          firewall: {{allow_from: [{lab.lan_cidrs[0]}]}}
          ssh: {{user: root, key: {lab.key}, known_hosts: {lab.known_hosts}}}
        registries:
          '{lab.registry.host}': {{insecure: true}}
        models:
          reasoner: {{from: '{lab.registry.model("library/tiny")}', num_ctx: 512, num_gpu: 0, preload: true}}
        groups:
          rack: {{hosts: [gpu-01, gpu-02], models: [reasoner]}}
        hosts:
          gpu-01: {{address: {one.address}}}
          gpu-02: {{address: {two.address}}}
        """)


if __name__ == "__main__":
    main()
