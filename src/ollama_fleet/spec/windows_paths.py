"""Paths with a drive, as Windows takes them."""

from __future__ import annotations

import re

from ollama_fleet.spec.errors import Wrong, show
from ollama_fleet.spec.values import check_path

LONGEST = 120
"""Characters: a model's own path comes after it, and Windows takes 260."""
_FORBIDDEN = '<>:"|?*'
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(\..*)?", re.IGNORECASE)
_OF_THE_SYSTEM = (
    "windows",
    "program files",
    "program files (x86)",
    "system volume information",
    "$recycle.bin",
)


def is_windows_path(text: str) -> bool:
    """Whether it begins with a drive."""
    return re.match(r"[A-Za-z]:[\\/]", text) is not None


def parse_windows_directory(value: object) -> str:
    """A directory below a drive, in canonical form: `D:\\Models\\OllamaModels`. Raises Wrong."""
    text = check_path(value)
    if text.startswith(("\\\\", "//")):
        raise Wrong(
            f"{show(text)} is on another machine", "SYSTEM cannot reach it; name a drive of the host's own"
        )
    if not is_windows_path(text):
        raise Wrong(f"{show(text)} has no drive", "write it as D:\\Models\\OllamaModels")
    parts = [part for part in re.split(r"[\\/]+", text[3:]) if part not in ("", ".")]
    if len(text) > LONGEST:
        raise Wrong(f"the path is longer than {LONGEST} characters")
    if not parts:
        raise Wrong(f"{show(text)} is a whole drive", f"write {text[0].upper()}:\\OllamaModels")
    for part in parts:
        if bad := next((letter for letter in part if letter in _FORBIDDEN), None):
            raise Wrong(f"{bad!r} cannot stand in a path on Windows")
        if part[-1] in " .":
            raise Wrong(f"{show(part)} ends with what Windows leaves out of a name", "remove it")
        if part == "..":
            raise Wrong(f'{show(text)} holds ".."', "write the path it leads to")
        if _DEVICES.fullmatch(part):
            raise Wrong(f"{show(part)} is the name of a device on Windows")
    if text[0].upper() == "C" and parts[0].casefold() in _OF_THE_SYSTEM:
        raise Wrong(f"{show(text)} belongs to the system", "write C:\\Models\\OllamaModels")
    return f"{text[0].upper()}:\\" + "\\".join(parts)
