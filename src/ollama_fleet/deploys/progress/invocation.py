"""The command that is running, as its user typed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Self

import click


@dataclass(frozen=True, slots=True)
class Invocation:
    """An apply: `pyinfra INVENTORY DEPLOY.py`."""

    inventory: str
    deploys: tuple[str, ...]
    yes: bool

    @classmethod
    def current(cls) -> Self | None:
        """Return the apply that runs; None where nothing is applied: a dry run, a fact, another program."""
        context = click.get_current_context(silent=True)
        asked: dict[str, Any] = {} if context is None else context.params
        deploys = tuple(asked.get("operations") or ())
        if not deploys or not all(deploy.endswith(".py") for deploy in deploys):
            return None
        if any(asked.get(option) for option in ("dry", "debug_facts", "debug_operations")):
            return None
        if asked.get("json_output") and not asked.get("yes"):
            return None  # which pyinfra takes for a dry run
        return cls(str(asked.get("inventory")), deploys, bool(asked.get("yes")))

    def again(self, hosts: Sequence[str] = ()) -> str:
        """Return the command that applies again, to some hosts or to all."""
        words = ["pyinfra", *(["-y"] if self.yes else []), self.inventory, *self.deploys]
        for host in hosts:
            words += ["--limit", host]
        return " ".join(map(quote, words))
