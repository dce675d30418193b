"""The helper programs that a release from 0.30 on needs beside its binary."""

from __future__ import annotations

import sys
from pathlib import Path


class MissingProgramError(Exception):
    """A helper is not there; the text names the places that were looked at."""


def require(name: str) -> None:
    """Look for `name` where the real server looks. Raises MissingProgramError.

    A stand-in that was not unpacked from an archive has no payload, and lacks nothing.
    """
    program = Path(sys.argv[0]).resolve()
    if program.name != "ollama":
        return
    here, above = program.parent, program.parent.parent
    places = [here / name, above / "lib" / "ollama" / name]
    for base in (here, above.parent):
        places += [
            base / "build" / "lib" / "ollama" / name,
            base / "dist" / "linux-amd64" / "lib" / "ollama" / name,
        ]
    if not any(place.is_file() for place in places):
        raise MissingProgramError(f"{name} binary not found (checked: {', '.join(map(str, places))})")
