"""Draw docs/terminal.svg: a session on two hosts of the lab, recorded as it happens.

    python docs/terminal.py        as root; takes half a minute and leaves nothing but the picture

The hosts install the stand-in release, so that the picture can be made anew without a download. Nothing is typed by
hand: what a long run says in the middle is left out, and the place is marked.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
from collections.abc import Mapping
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/terminal.svg"
WIDTH = 96
"""Columns."""
HEIGHT, LONGEST = 40, 400
"""Rows of the window, and of what a command writes."""
LEFT_OUT = Text("    ⋮", "dim")
LAYERS = 32
PACES = {"gpu-01": 500_000, "gpu-02": 350_000}
"""Bytes per second at which the hosts pull, so that there is something to be seen of it."""
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
        self,
        command: str,
        *,
        since: str | None = None,
        until: str | None = None,
        meanwhile: bool = False,
        expect: int = 0,
    ) -> None:
        """Run a command and keep its output, or the lines from one with `since` to the one before `until`.

        `meanwhile` keeps also what was shown while models were pulled.

        Raises:
            SystemExit: the exit code is not the expected one, or the lines are not there.
        """
        code, lines, pulling = _on_terminal(command, self.directory)
        if code != expect:
            raise SystemExit(f"{command}: exit code {code}\n" + "\n".join(line.plain for line in lines))
        self._prompt("$", command)
        if meanwhile and not pulling:
            raise SystemExit(f"{command}: nothing was seen of the pulls")
        for line in [*([LEFT_OUT, *pulling] if meanwhile else []), *_part(lines, since, until)]:
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


def _on_terminal(command: str, directory: Path) -> tuple[int, list[Text], list[Text]]:
    """Run a command of this environment on a terminal of its own.

    Returns its exit code, the lines that stay, and those that stood there for a moment while two hosts were pulling.
    """
    own_end, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    words = command.split()
    process = subprocess.Popen(  # noqa: S603 - the commands stand below
        [str(Path(sys.executable).parent / words[0]), *words[1:]],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(its_end)
    screen = pyte.Screen(WIDTH, LONGEST)
    stream = pyte.ByteStream(screen)
    moments: list[list[Text]] = []
    while True:
        try:
            stream.feed(os.read(own_end, 65536))
        except OSError:  # the other end is closed
            break
        bars = [
            row for row, text in enumerate(screen.display) if "━" in text and "╌" in text and "left" in text
        ]
        if len(bars) > 1:
            moments.append(_lines(screen)[bars[0] - 1 : bars[-1] + 1])
    os.close(own_end)
    return process.wait(), _lines(screen), moments[len(moments) // 2] if moments else []


def _lines(screen: pyte.Screen) -> list[Text]:
    """What stands there: whatever was overwritten or erased, such as the bars of an apply, is gone."""
    return [_line(screen.buffer[row], text) for row, text in enumerate(screen.display)]


def _line(cells: Mapping[int, pyte.screens.Char], text: str) -> Text:
    """A line without the spaces at its end, one span for cells of the same look."""
    styled = ((cells[column].data, _style(cells[column])) for column in range(len(text.rstrip())))
    spans = groupby(styled, key=lambda cell: cell[1])
    return Text.assemble(*(("".join(data for data, _ in same), style) for style, same in spans))


def _style(cell: pyte.screens.Char) -> str:
    colour = {"brown": "yellow", "default": ""}.get(cell.fg, cell.fg)
    colour = f"#{colour}" if re.fullmatch("[0-9a-f]{6}", colour) else colour
    return f"{'bold ' if cell.bold else ''}{colour}".strip()


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
    return [*([LEFT_OUT] if first else []), *shown]


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
        session.run(APPLY, meanwhile=True, since="--> Summary", until="log:")
        session.run(APPLY, since="--> Summary", until="log:")
        edit = f"sed -i s/24h/5m/ {ENVIRONMENT_FILE}"
        lab.all_hosts[0].run(edit)
        session.by_hand("gpu-01", edit)
        session.run("ollama-fleet drift", expect=2)
        session.run(APPLY, since="--> Summary", until="log:")
        session.run("ollama-fleet drift")
        TARGET.write_text(session.svg(), encoding="utf-8")


def _fleet(lab: Lab, directory: Path) -> str:
    """Boot the hosts, publish a model and a release; returns the fleet file."""
    one, two = lab.hosts({"gpu-01": {"firewall": "ufw"}, "gpu-02": {"firewall": "nftables"}})
    lab.registry.push_gguf(
        "library/tiny", tiny_gguf(directory / "tiny.gguf", layers=LAYERS), parameters={"temperature": 0.7}
    )
    for host, pace in zip((one, two), PACES.values(), strict=True):
        host.write("/etc/ollama-sim.json", json.dumps({"pull": {"bytes_per_second": pace}}))
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
