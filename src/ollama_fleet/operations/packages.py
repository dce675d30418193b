"""Installing one package by whichever package manager a host has."""

from __future__ import annotations

from collections.abc import Collection

INSTALL = {
    # The lists of a fresh or long untouched machine name no package, or one that is no longer served.
    "apt-get": "export DEBIAN_FRONTEND=noninteractive; "
    "apt-get install -y -qq {0} || {{ apt-get update -qq && apt-get install -y -qq {0}; }}",
    "dnf": "dnf install -y -q {0}",
    "zypper": "zypper --non-interactive --quiet install {0}",
    "pacman": "pacman -S --noconfirm --quiet {0}",
    "apk": "apk add --quiet {0}",
}
"""By the command that a package manager is known by; `{0}` is the package."""


def install_command(package: str, tools: Collection[str]) -> str | None:
    """A line of shell that installs a package; None where no package manager is known there."""
    manager = next((name for name in INSTALL if name in tools), None)
    return None if manager is None else INSTALL[manager].format(package)
