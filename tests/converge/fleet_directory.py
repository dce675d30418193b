"""A directory with a fleet.yaml in it, and the commands that a user types there."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from converge.command_runs import Run
from unit.cli.printed import hold_to_schema

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Document:
    """A copy of `base` with `more` put in, map by map."""
    result = copy.deepcopy(dict(base))
    for key, value in more.items():
        there = result.get(key)
        result[key] = (
            merged(there, value)
            if isinstance(there, dict) and isinstance(value, dict)
            else copy.deepcopy(value)
        )
    return result


@dataclass
class FleetDirectory:
    """The files of a fleet, and runs of the literal commands with stdin closed."""

    path: Path
    document: Document
    commands: Path = Path(sys.executable).parent
    """Where `pyinfra` and `ollama-fleet` are installed."""
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, path: Path, document: Document) -> Self:
        """Write the two Python files and fleet.yaml into a directory, which may be there already."""
        (path / "inventory").mkdir(parents=True, exist_ok=True)
        for name in ("deploy.py", "inventory/hosts.py"):
            (path / name).write_text((ROOT / name).read_text())
        fleet = cls(path, document)
        fleet.write()
        return fleet

    def write(self) -> None:
        """Write fleet.yaml from the document."""
        # YAML that is JSON: nobody's idea of quoting comes between a test and its values.
        (self.path / "fleet.yaml").write_text(json.dumps(self.document, indent=1, ensure_ascii=False))

    def change(self, **more: Any) -> None:
        """Merge into the document and write it."""
        self.document = merged(self.document, more)
        self.write()

    def lock(self) -> Run:
        """`ollama-fleet lock`, which must succeed."""
        run = self.run("ollama-fleet", "lock")
        assert run.code == 0, str(run)
        return run

    def apply(self, *options: str) -> Run:
        """`pyinfra -y --json`: the results by operation and host."""
        return self.pyinfra("-y", "--json", *options)

    def dry(self, *options: str) -> Run:
        """`pyinfra --dry --json`: what would change."""
        return self.pyinfra("--dry", "--json", *options)

    def pyinfra(self, *options: str) -> Run:
        """`pyinfra [options] inventory/hosts.py deploy.py`."""
        return self.run("pyinfra", *options, "inventory/hosts.py", "deploy.py")

    def drift(self, *hosts: str) -> Run:
        """`ollama-fleet drift --json`."""
        return self.run("ollama-fleet", "drift", "--json", *hosts)

    def run(self, command: str, *arguments: str, timeout: float = 180) -> Run:
        """Run an installed command in the directory; JSON of ours is held to its schema."""
        done = subprocess.run(
            [str(self.commands / command), *arguments],
            cwd=self.path,
            env=self.environment_of_run(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if command == "ollama-fleet":
            hold_to_schema(arguments, done.stdout)
        return Run((command, *arguments), done.returncode, done.stdout, done.stderr)

    def environment_of_run(self) -> dict[str, str]:
        """A home of its own, and nothing of the tester's settings."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        # Logs lie elsewhere: the directory may be a repository.
        return {**kept, "HOME": str(self.path), "XDG_STATE_HOME": f"{self.path}.state", **self.environment}

    def logs(self) -> list[str]:
        """The texts of the log files that applies have written, the last one last."""
        return [
            path.read_text() for path in sorted(Path(f"{self.path}.state").glob("ollama-fleet/log/*.log"))
        ]
