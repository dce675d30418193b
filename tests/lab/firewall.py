"""The firewall of a freshly installed machine: SSH may come in, nothing else may."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from .process import LabError, run

Firewall = Literal["ufw", "nftables", "firewalld", "iptables"]
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

_IPTABLES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p {icmp} -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""

_IPTABLES_UNIT = """\
[Unit]
Description=Rules of the legacy tables, as the service of this name loads them on other distributions
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'iptables-restore </etc/iptables/rules.v4 && ip6tables-restore </etc/iptables/rules.v6'
ExecReload=/bin/sh -c 'iptables-restore </etc/iptables/rules.v4 && ip6tables-restore </etc/iptables/rules.v6'
[Install]
WantedBy=multi-user.target
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
    elif firewall == "iptables":
        for six, icmp in (("", "icmp"), ("6", "ipv6-icmp")):
            (root / f"etc/alternatives/ip{six}tables").unlink()
            (root / f"etc/alternatives/ip{six}tables").symlink_to(f"/usr/sbin/ip{six}tables-legacy")
            link = root / f"etc/alternatives/ip{six}tables-restore"
            link.unlink()
            link.symlink_to(f"/usr/sbin/ip{six}tables-legacy-restore")
            rules = root / f"etc/iptables/rules.v{six or 4}"
            rules.parent.mkdir(exist_ok=True)
            rules.write_text(_IPTABLES.format(icmp=icmp))
        (root / "etc/systemd/system/iptables.service").write_text(_IPTABLES_UNIT)
    # firewalld's own default zone lets SSH in, and nothing else that the lab looks at.
    run(["systemctl", "--quiet", f"--root={root}", "enable", f"{firewall}.service"])
