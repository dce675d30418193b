"""A tree written down: what is where, whose it is and what is in it, so that two moments can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

VOLATILE = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/var/log", "/var/lib/systemd", "/var/cache")
"""What changes on a machine that nobody touches; left out unless asked for."""


class Entry(NamedTuple):
    """One path: `kind` is file, directory, link or other; `content` a file's sha256 or a link's target."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str


def snapshot(root: Path, exclude: Iterable[str] = VOLATILE) -> dict[str, Entry]:
    """Write down the tree under `root` by absolute path as seen from inside it.

    Excluded paths are left out together with everything below them. Links are not followed.
    """
    skip = set(exclude)
    found: dict[str, Entry] = {}
    pending = [("", str(root))]
    while pending:
        inside, outside = pending.pop()
        with os.scandir(outside) as entries:
            for entry in entries:
                path = f"{inside}/{entry.name}"
                if path in skip:
                    continue
                status = entry.stat(follow_symlinks=False)
                found[path] = _entry(entry.path, status)
                if stat.S_ISDIR(status.st_mode):
                    pending.append((path, entry.path))
    return found


def _entry(path: str, status: os.stat_result) -> Entry:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:  # noqa: PTH123 - Path objects for ten thousand files cost more than hashing
            kind, content = "file", hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(mode):
        kind, content = "link", os.readlink(path)  # noqa: PTH115 - as above
    elif stat.S_ISDIR(mode):
        kind, content = "directory", ""
    else:
        kind, content = "other", f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return Entry(kind, stat.S_IMODE(mode), status.st_uid, status.st_gid, content)


def differences(before: dict[str, Entry], after: dict[str, Entry]) -> list[str]:
    """What changed from one snapshot to the other, a line per path, for an assertion's message."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            lines.append(f"{path}: {'+' if old is None else '-' if new is None else f'{old} -> {new}'}")
    return lines
