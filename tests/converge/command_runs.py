"""What a command printed, as a user and as a program reads it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TOLD = re.compile(r"^\s*\[(?P<host>[^\]]+)\] (?P<line>.*)$", re.MULTILINE)
_CHANGE = re.compile(
    r"(?P<item>(account|directory|firewall|variable|tray app|file|line|release|service|base|import|model|loaded"
    r"|rollout|prune|access) \S.*?): "
)
_RESTART = "service ollama: restart for the new "
OPERATION = "ollama-fleet | "


@dataclass(frozen=True)
class Run:
    """One finished command."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @cached_property
    def text(self) -> str:
        """All that was printed, without colours."""
        return _COLOUR.sub("", self.stderr + self.stdout)

    @cached_property
    def document(self) -> dict[str, Any]:
        """What `--json` printed."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed

    def told(self, host: str) -> list[str]:
        """The lines that begin with `[host]`, in order."""
        return [match["line"].strip() for match in _TOLD.finditer(self.text) if match["host"] == host]

    def items(self, host: str) -> set[str]:
        """The items, as `kind name`, that the printed lines say differ on a host."""
        matches = (_CHANGE.match(line) for line in self.told(host) if _RESTART not in line)
        return {match["item"] for match in matches if match}

    def drifted(self, host: str) -> set[str]:
        """The items, as `kind name`, that `drift --json` says differ on a host."""
        return {f"{item['kind']} {item['name']}" for item in self.document["hosts"][host]["changes"]}

    def tells_restart(self, host: str) -> bool:
        """Whether a line says that the server is restarted because of a change elsewhere."""
        return any(_RESTART in line for line in self.told(host))

    def notes(self, host: str) -> list[str]:
        """What a host's user is only told."""
        return [line.removeprefix("note: ") for line in self.told(host) if line.startswith("note: ")]

    def to_change(self, host: str) -> set[str]:
        """Names of the operations that a dry run's JSON says would change a host."""
        return {
            operation["name"].removeprefix(OPERATION)
            for operation in self.document["plan"]
            if host in operation["hosts_with_change"]
        }

    def changed(self, host: str) -> set[str]:
        """Names of the operations that an apply's JSON says changed a host."""
        return self._with(host, "success")

    def unchanged(self, host: str) -> set[str]:
        """Names of the operations that an apply's JSON says found nothing to do on a host."""
        return self._with(host, "no_change")

    def failed(self, host: str) -> set[str]:
        """Names of the operations that an apply's JSON says failed on a host."""
        return self._with(host, "error")

    def _with(self, host: str, outcome: str) -> set[str]:
        operations = (self.document["results"] or {}).get("operations", [])
        return {o["name"].removeprefix(OPERATION) for o in operations if host in o[outcome]}

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.text}\nexit code {self.code}"
