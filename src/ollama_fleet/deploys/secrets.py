"""Looking up what references to secrets stand for, on the machine that deploys, when a host needs it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from ollama_fleet.planner.errors import PlanError
from ollama_fleet.spec.hosts import HostSpec
from ollama_fleet.spec.secret import SecretReference

LARGEST_SECRET = 4096
"""Bytes; a token or a URL, not a file of anything else."""


def secrets_of(spec: HostSpec, folder: Path) -> Mapping[str, SecretStr]:
    """Return the values of a host's secret variables.

    Raises:
        PlanError: one cannot be had, or holds what no environment variable can; it names the line of fleet.yaml.
    """
    found = {}
    for name, reference in spec.secrets.items():
        try:
            found[name] = SecretStr(_checked(_value(reference, folder)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise PlanError(f"{spec.origin.get(f'env.{name}')}: env.{name}: {reference}: {reason}") from None
    return found


def readable_by_all(spec: HostSpec, folder: Path) -> list[str]:
    """Files of this machine that hold a host's secrets and that everybody here may read."""
    found: dict[str, None] = {}
    for reference in spec.secrets.values():
        if reference.kind == "file":
            path = folder / Path(reference.name).expanduser()
            try:
                if path.stat().st_mode & stat.S_IROTH:
                    found[str(path)] = None
            except OSError:
                continue  # that it cannot be read is told where its value is needed
    return list(found)


def _value(reference: SecretReference, folder: Path) -> str:
    if reference.kind == "env":
        value = os.environ.get(reference.name)
        if not value:
            raise ValueError("no such variable is set here")
        return value
    path = folder / Path(reference.name).expanduser()
    with path.open("rb") as file:
        content = file.read(LARGEST_SECRET + 1)
    if len(content) > LARGEST_SECRET:
        raise ValueError(f"the file is longer than {LARGEST_SECRET} bytes")
    return content.decode().rstrip("\r\n")


def _checked(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    if not value.isprintable():
        raise ValueError("it holds a line break or another character that no variable can")
    return value
