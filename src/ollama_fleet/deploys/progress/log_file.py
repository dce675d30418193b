"""What is said in a run, kept: a file per apply with all of it, and the last errors of each host."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

KEPT = 30
"""Files; older ones go."""
LEAST_SECRET = 4
"""Characters: of what is shorter every other word would be hidden."""

_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OF_HOST = re.compile(r"\[(?P<host>[^\]]+)\]\s+(?P<line>.+)", re.DOTALL)
_OWN_WORD = re.compile(r"Error(: executed \d+ commands?.*)?")
"""That something failed, which pyinfra says after whatever it was that failed."""


def state_directory() -> Path:
    """`$XDG_STATE_HOME/ollama-fleet`, by default `~/.local/state/ollama-fleet`."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "ollama-fleet"


def uncoloured(text: str) -> str:
    """A text without what gives it colours."""
    return _STYLE.sub("", text)


def is_own_word(text: str) -> bool:
    """Whether a host's line only says once more that it failed."""
    said = _OF_HOST.fullmatch(text)
    return said is not None and _OWN_WORD.fullmatch(said["line"]) is not None


class LogFile(logging.Handler):
    """Keeps what is said until it is known whether a run is to be logged, then writes it and all that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        """Where it is written; None before `open`, or where it cannot be."""
        self.trouble = ""
        """Why it cannot be."""
        self._waiting: list[str] = []
        self._hidden: set[str] = set()
        self._errors: dict[str, str] = {}

    def hide(self, secrets: Iterable[str]) -> None:
        """Never write these."""
        self._hidden.update(secret for secret in secrets if len(secret) >= LEAST_SECRET)

    def error_of(self, host: str) -> str:
        """The last thing that has been said to be wrong on a host; empty for nothing."""
        return self._shown(self._errors.get(host, ""))

    def open(self) -> None:
        """Begin the file, with what has been said so far."""
        if self.path is not None or self.trouble:
            return
        folder = state_directory() / "log"
        path = folder / f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}-{os.getpid()}.log"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            for old in sorted(folder.glob("*.log"))[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self.trouble = f"{folder}: {error.strerror}"
        else:
            self.path = path
            self._write(self._waiting)
        self._waiting = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record in."""
        text = uncoloured(record.getMessage())
        said = _OF_HOST.fullmatch(text) if record.levelno >= logging.ERROR else None
        if said is not None and not _OWN_WORD.fullmatch(said["line"]):
            self._errors[said["host"]] = " ".join(said["line"].split())
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = f"{at} {record.levelname:<7} {text}"
        if self.path is not None:
            self._write([line])
        elif not self.trouble:
            self._waiting.append(line)

    def _write(self, lines: list[str]) -> None:
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{self._shown(line)}\n" for line in lines)
        except OSError as error:  # a full disk here must not end what goes on elsewhere
            self.path, self.trouble = None, f"{self.path}: {error.strerror}"

    def _shown(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text
