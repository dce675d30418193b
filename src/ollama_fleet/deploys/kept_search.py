"""The steps of a search that was cut off, kept on this machine until it is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_fleet.artifacts.atomic_file import replace_file
from ollama_fleet.checks.trial_steps import Step


@dataclass(frozen=True, slots=True)
class KeptSearch:
    """The steps of a search that is under way, in the user's cache; what belongs to another search is not taken."""

    path: Path
    host: str
    model: str
    """And, where it is one of several servers', on which."""
    key: dict[str, Any]
    """What a search must have in common with an earlier one to go on with it."""

    @property
    def file(self) -> Path:
        """Where they lie."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.sha256(f"{self.path.resolve()}\0{self.host}\0{self.model}".encode()).hexdigest()[:24]
        return cache / "ollama-fleet" / f"tune-{name}.json"

    def load(self) -> list[Step]:
        """Those of the search that was cut off; none where there was no such one."""
        try:
            data = json.loads(self.file.read_text("utf-8"))
            if data["key"] != self.key:
                return []
            return [Step.from_dict(step) for step in data["steps"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def save(self, steps: Iterable[Step]) -> None:
        """Keep these in place of earlier ones. Raises OSError."""
        data = {"key": self.key, "steps": [step.to_dict() for step in steps]}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, json.dumps(data).encode())

    def forget(self) -> None:
        """The search is done."""
        self.file.unlink(missing_ok=True)
