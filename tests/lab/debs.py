"""A flat apt repository made of a few .deb files, for hosts that have no way out."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from .process import LabError, run


def index(directory: Path) -> None:
    """Write `Packages` and `Packages.gz` for the .deb files in `directory` (a flat repository, `./`)."""
    stanzas = []
    for deb in sorted(directory.glob("*.deb")):
        data = deb.read_bytes()
        control = run(["dpkg-deb", "--field", str(deb)]).strip()
        checksum = hashlib.sha256(data).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{deb.name}\nSize: {len(data)}\nSHA256: {checksum}\n")
    text = "\n".join(stanzas)
    (directory / "Packages").write_text(text)
    (directory / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def find(directory: Path, package: str) -> Path:
    """The file of `package`; LabError where the image was built without it."""
    for deb in directory.glob(f"{package}_*.deb"):
        return deb
    raise LabError(f"{directory} holds no package {package}")
