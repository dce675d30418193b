"""The base image: a Debian 12 tree that all hosts share, built once and cached by a hash of its recipe.

The tree is read-only for everybody: a host writes into an overlay of its own. What a machine would settle on
its first boot (host keys, machine id, users) is settled here or when the host is made, so a boot has nothing
to wait for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import debs
from .process import LabError, run

CACHE = Path(os.environ.get("OLLAMA_FLEET_LAB_CACHE", "/var/cache/ollama-fleet-lab"))
"""Where images are kept; one takes about 300 MiB."""

MIRROR = os.environ.get("OLLAMA_FLEET_LAB_MIRROR", "")
"""Debian mirror to build from; empty for mmdebstrap's default with security updates."""

SUITE = "bookworm"

PACKAGES = (
    # a machine that boots, with user services and lingering
    "systemd", "systemd-sysv", "libpam-systemd", "libnss-systemd", "dbus", "dbus-user-session", "polkitd",
    # reached and administered as usual
    "openssh-server", "sudo", "procps", "iproute2", "netbase", "kmod",
    # firewalls: which one is on is the host's choice
    "ufw", "nftables", "iptables", "firewalld",
    # what a release needs: unpacking, TLS, and Python for the stand-in release
    "zstd", "ca-certificates", "python3",
    # the lab's own checks from inside
    "curl",
)  # fmt: skip

ON_THE_SIDE = (
    "zstd", "docker-registry",
    # the front door's proxies, which an apply installs, with what they depend on
    "nginx", "nginx-common", "caddy", "libnss3-tools", "libnss3", "libnspr4", "libsqlite3-0", "media-types",
)  # fmt: skip
"""Packages kept as files beside the tree: for hosts that lack them, or for the lab's own use."""

MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "e2scrub_reap.service", "getty.target", "console-getty.service", "systemd-networkd-wait-online.service",
    "systemd-resolved.service", "systemd-timesyncd.service", "systemd-firstboot.service", "motd-news.timer",
)  # fmt: skip

FILES = {
    "etc/ssh/sshd_config.d/lab.conf": (
        "# VERBOSE names every session that is opened; the lab counts them.\n"
        "LogLevel VERBOSE\nHostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nUseDNS no\n"
    ),
    "etc/systemd/journald.conf.d/lab.conf": (
        "# In memory, and nothing dropped: the lab reads sshd's log to the last line.\n"
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=64M\n"
    ),
    "etc/resolv.conf": "# This host has no name server; lookups fail at once.\n",
    "etc/machine-id": "",
}

SHELL = r"""
set -eu
useradd --create-home --shell /bin/bash --user-group admin
useradd --create-home --shell /bin/bash --user-group student
printf 'admin ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/admin
chmod 0440 /etc/sudoers.d/admin
systemctl disable --quiet ufw.service nftables.service firewalld.service
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/hostname
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/log/*.log /var/log/apt
ln -s /etc/machine-id /var/lib/dbus/machine-id
"""

# Documentation and translations are half of the tree and nobody on a lab host reads them.
_DPKG = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale", "info")]
_FORMAT = 1
_FORGET_AFTER = 14 * 24 * 3600
"""Seconds."""


# In a process namespace of its own whose first process dies with the builder: a killed builder leaves nobody
# behind who goes on writing into a tree that the next one deletes.
_DIES_WITH_US = ("setpriv", "--pdeathsig=KILL", "unshare", "--fork", "--pid", "--mount-proc", "--kill-child")


def recipe() -> str:
    """The hash that names an image: everything that decides what is in it."""
    parts = (_FORMAT, SUITE, MIRROR, PACKAGES, ON_THE_SIDE, MASKED, sorted(FILES.items()), SHELL, _DPKG)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def base_image(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the image's directory, building it where it is not cached.

    It holds `tree` (the root file system) and `debs` (packages on the side, with an apt index). Two builders
    at once are safe: the second waits and finds the first one's image. Raises LabError where the build fails.
    """
    image = CACHE / f"image-{recipe()}"
    if image.is_dir():
        os.utime(image)
        return image
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if image.is_dir():
            return image
        for leftover in CACHE.glob("building-*"):
            _delete(leftover)
        building = CACHE / f"building-{os.getpid()}"
        building.mkdir()
        say(f"building the base image {image} (once; a minute or two)")
        try:
            _build(building)
            building.rename(image)
        except BaseException:
            _delete(building)
            raise
        _forget_others(image)
    return image


def _build(building: Path) -> None:
    tree, side = building / "tree", building / "debs"
    side.mkdir()
    # By way of the tree's own apt, so that the packages fit the tree and their signatures are checked.
    fetch = f'cd "$1/tmp" && chroot "$1" sh -c "cd /tmp && apt-get download {" ".join(ON_THE_SIDE)}"'
    mirror = [MIRROR] if MIRROR else []
    run(
        [
            *_DIES_WITH_US,
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            *_DPKG,
            f'--customize-hook={fetch} && mv "$1"/tmp/*.deb {side}/',
            SUITE,
            str(tree),
            *mirror,
        ],
        timeout=1800,
    )
    run(["chroot", str(tree), "/bin/sh", "-c", SHELL])
    for name, text in FILES.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            target.unlink()
        target.write_text(text)
    for unit in MASKED:
        link = tree / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    debs.index(side)


def _forget_others(image: Path) -> None:
    """Images of other recipes go once nobody has asked for them for a while and no running lab stands on them."""
    mounts = Path("/proc/self/mounts").read_text()
    for other in CACHE.glob("image-*"):
        unused = time.time() - other.stat().st_mtime
        if other != image and unused > _FORGET_AFTER and f"{other}/tree" not in mounts:
            _delete(other)


def _delete(directory: Path) -> None:
    # Renamed first, so that nobody takes a half-deleted image for a whole one.
    doomed = CACHE / f"building-{directory.name}-deleted"
    with suppress(OSError):
        directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


REQUIRED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "dpkg-deb": "dpkg",
}
"""This machine's own tools, and the Debian package that each is in."""


def install_tools(say: Callable[[str], None] = lambda _: None) -> None:
    """Install what this machine lacks for building and booting, by apt-get.

    Raises LabError where something is missing and this is no machine with apt-get.
    """
    missing = sorted({package for tool, package in REQUIRED.items() if shutil.which(tool) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"the lab needs {', '.join(missing)} and this machine has no apt-get to install them")
    say(f"installing {', '.join(missing)}")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    run([*apt, "update"], timeout=600)
    run([*apt, "install", "-y", "--no-install-recommends", *missing], timeout=900)
