"""What distinguishes one host from the base image: names, keys, packages it lacks, firewall, GPUs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from . import firewall, gpus
from .host import Host
from .process import run
from .registry import NAME as REGISTRY_NAME
from .registry import Registry

USERS = {"root": ("root", 0), "admin": ("home/admin", 1000), "student": ("home/student", 1001)}
"""Home and user id of those who accept the lab's key; made in the base image."""


class HostOptions(TypedDict, total=False):
    """What can be asked of a host besides its name; see `Lab.host`."""

    firewall: firewall.Firewall | None
    gpus: Sequence[str]
    without: Sequence[str]
    disk: str


def outfit(host: Host, registry: Registry, authorized_key: str, options: HostOptions) -> str:
    """Write all this into the tree of a host that is not running yet; returns its line for `known_hosts`.

    Raises LabError for a firewall, a GPU or a package that is not to be had.
    """
    root = host.root
    (root / "etc/hostname").write_text(f"{host.name}\n")
    (root / "etc/hosts").write_text(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
        f"{host.address} {host.name}\n{host.address6} {host.name}\n"
        f"{registry.address} {REGISTRY_NAME} {REGISTRY_NAME}.lab\n"
    )
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] {registry.url}/debian ./\n")
    _authorize(root, authorized_key)
    for package in options.get("without", ()):
        run(["chroot", str(root), "dpkg", "--purge", "--force-depends", package])
    firewall.install(root, options.get("firewall"))
    if names := options.get("gpus"):
        gpus.install(root, host.name, names)
    return _known_host(host, _make_host_key(host))


def _authorize(root: Path, key: str) -> None:
    for home, uid in USERS.values():
        directory = root / home / ".ssh"
        directory.mkdir(exist_ok=True)
        directory.chmod(0o700)
        keys = directory / "authorized_keys"
        keys.write_text(key)
        for path in (directory, keys):
            os.chown(path, uid, uid)


def _make_host_key(host: Host) -> str:
    """Give the host a key before its first boot, so that nobody has to trust one on first use."""
    path = host.root / "etc/ssh/ssh_host_ed25519_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(path)])
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def _known_host(host: Host, key: str) -> str:
    offices = [
        host.office_address(4),
        host.office_address(6),
        host.outside_address(4),
        host.outside_address(6),
    ]
    return f"{','.join([host.name, host.address, host.address6, *offices])} {key}\n"
