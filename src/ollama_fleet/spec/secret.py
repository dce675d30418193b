"""References to secrets: the fleet file says where a value is found, never what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ollama_fleet.spec.errors import Wrong, show

_REFERENCE = re.compile(r"(env|file):(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where the machine that deploys finds a secret: a variable of its environment, or a file.

    A file's `name` is absolute, below `~/`, or relative to the fleet file; its content counts without the line end.
    """

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def parse_reference(text: str) -> SecretReference | None:
    """`env:NAME` or `file:PATH`; None for any other text. Raises Wrong for a reference to nothing."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    kind, name = match.groups()
    if kind == "env":
        if not _NAME.fullmatch(name):
            raise Wrong(f"{show(name)} is no name of a variable", "write env:NAME")
        return SecretReference("env", name)
    if not name or not name.isprintable() or name.endswith("/"):
        raise Wrong(f"{show(name)} is no path of a file", "write file:/path, file:~/path or file:path")
    return SecretReference("file", name)
