"""The firewall of a freshly installed machine: SSH may come in, nothing else may."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from .process import LabError, run

Firewall = Literal["ufw", "nftables", "firewalld"]
FIREWALLS: tuple[str, ...] = get_args(Firewall)

_NFTABLES = """\
#!/usr/sbin/nft -f

flush ruleset

table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\tct state invalid drop
\t\tiif "lo" accept
\t\tmeta l4proto { icmp, ipv6-icmp } accept
\t\ttcp dport 22 accept
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}
\tchain output {
\t\ttype filter hook output priority filter; policy accept;
\t}
}
"""


def install(root: Path, firewall: str | None) -> None:
    """Set up the firewall of a tree that is not running yet, so that it is up from the first boot on."""
    if firewall is None:
        return
    if firewall not in FIREWALLS:
        raise LabError(f"no firewall {firewall!r} in the lab; there are {', '.join(FIREWALLS)}")
    if firewall == "ufw":
        # By ufw's own hand, so that its files are as on any machine. It is off, so it only writes them;
        # without /proc it takes the machine for one that has no IPv6.
        inside = 'mount -t proc proc "$1/proc" && exec chroot "$1" ufw allow 22/tcp'
        run(["unshare", "--mount", "/bin/sh", "-c", inside, "ufw", str(root)])
        config = root / "etc/ufw/ufw.conf"
        config.write_text(config.read_text().replace("ENABLED=no", "ENABLED=yes"))
    elif firewall == "nftables":
        (root / "etc/nftables.conf").write_text(_NFTABLES)
    # firewalld's own default zone lets SSH in, and nothing else that the lab looks at.
    run(["systemctl", "--quiet", f"--root={root}", "enable", f"{firewall}.service"])
