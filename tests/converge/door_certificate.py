"""Certificates to put into a front door."""

from __future__ import annotations

import subprocess
from pathlib import Path

CERTIFIED = {
    "tokens": {"alice": "env:ALICE_TOKEN"},
    "admin_tokens": {"ops": "env:OPS_TOKEN"},
    "certificate": "door.crt",
    "key": "file:door.key",
}
"""A door with a certificate that is made here."""


def make_certificate(folder: Path, name: str) -> None:
    """Make door.crt and door.key."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", "door.key", "-out", "door.crt", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files], cwd=folder, check=True, capture_output=True)
    (folder / "door.key").chmod(0o600)


def subject(der: bytes) -> str:
    argv = ["openssl", "x509", "-inform", "DER", "-noout", "-subject"]
    return subprocess.run(argv, input=der, capture_output=True, check=True).stdout.decode()
