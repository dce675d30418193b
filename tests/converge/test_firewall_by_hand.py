"""Rules of ours that somebody changed by hand: seen, and put right, without a trace of what was done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import pytest

from converge.firewall_support import PORT, Firewalls, everything
from lab import Lab

pytestmark = pytest.mark.lab

_OWN = "inet ollama_fleet input"
_HANDLES = "nft -a list chain {chain} | sed -n 's/.*ollama-fleet.*# handle //p' | sed -n {number}p"
_OPENING = (
    f'rule priority="-32768" family="ipv4" source address="LAN" port port="{PORT}" protocol="tcp" accept'
)
_CLOSING = f'rule priority="-32767" port port="{PORT}" protocol="tcp" drop'
_TO_ALL = f'rule priority="-32768" family="ipv4" port port="{PORT}" protocol="tcp" accept'


def _delete(chain: str, number: int) -> str:
    """Delete the rule with that number, from 1, out of those with our name in a chain."""
    return f"nft delete rule {chain} handle $({_HANDLES.format(chain=chain, number=number)})"


BY_HAND = {
    "ufw": {
        "removed": f"ufw delete allow from LAN to any port {PORT} proto tcp",
        "turned round": f"ufw deny from LAN to any port {PORT} proto tcp",
        "widened": f"ufw allow from 10.0.0.0/8 to any port {PORT} proto tcp comment ollama-fleet",
        "of another shape": f"ufw allow in on lan to any port {PORT}:{PORT + 9} proto tcp comment ollama-fleet",
        "of another port": "ufw allow log from 10.0.0.0/9 to any port 99 comment ollama-fleet",
        "gone from the kernel": f"iptables -D ufw-user-input -s LAN -p tcp -m tcp --dport {PORT} -j ACCEPT",
    },
    "nftables": {
        "opening removed": _delete("inet filter input", 1),
        "closing rule removed": _delete(_OWN, 3),
        "everybody let in": f"nft insert rule {_OWN} tcp dport {PORT} accept",
        "widened": f"nft insert rule inet filter input tcp dport {PORT} accept comment ollama-fleet",
        "doubled": f"nft insert rule inet filter input ip saddr LAN tcp dport {PORT} accept comment ollama-fleet",
        "table removed": "nft delete table inet ollama_fleet",
        "everything loaded anew": "nft -f /etc/nftables.conf",
        "script edited": "echo '# mine' >>/var/lib/ollama-fleet/firewall.sh",
        "unit removed": "rm /etc/systemd/system/ollama-fleet-firewall.service",
    },
    "iptables": {
        "opening removed": f"iptables -D OLLAMA-FLEET -s LAN -p tcp --dport {PORT} -j ACCEPT",
        "closing rule removed": f"ip6tables -D OLLAMA-FLEET -p tcp --dport {PORT} -j DROP",
        "widened": f"iptables -I OLLAMA-FLEET -s 10.0.0.0/8 -p tcp --dport {PORT} -j ACCEPT",
        "never asked": "iptables -D INPUT -j OLLAMA-FLEET",
        "asked by some only": "ip6tables -R INPUT 1 -p udp -j OLLAMA-FLEET",
        "everything loaded anew": "iptables-restore </etc/iptables/rules.v4",
        "script edited": "echo '# mine' >>/var/lib/ollama-fleet/firewall.sh",
    },
    "firewalld": {
        "removed from the running rules": f"firewall-cmd --remove-rich-rule='{_OPENING}'",
        "removed on disk": f"firewall-cmd --permanent --remove-rich-rule='{_OPENING}'",
        "closing rule removed": f"firewall-cmd --remove-rich-rule='{_CLOSING}'",
        "widened": f"firewall-cmd --add-rich-rule='{_TO_ALL}'",
        "widened on disk": f"firewall-cmd --permanent --add-rich-rule='{_TO_ALL}'",
    },
}


@dataclass(frozen=True)
class Outcome:
    """What one change by hand came to."""

    noticed: bool
    """By the host's own tools: the test did change something."""
    repaired: bool
    """The next apply changed the host."""
    right: bool
    """Afterwards all was as before."""


@pytest.fixture(scope="module")
def outcomes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    """All changes, one at a time on each host and on all hosts at once, so that one apply does for three."""
    firewalls = Firewalls(lab, tmp_path_factory.mktemp("by-hand"))
    options = {f"hand-{name}": {"firewall": name} for name in BY_HAND}
    hosts = lab.hosts(options)  # type: ignore[arg-type]
    firewalls.apply(*hosts)
    right = {host.name: everything(host) for host in hosts}
    found = {}
    for names in zip_longest(*BY_HAND.values()):
        changed = [(host, name) for host, name in zip(hosts, names, strict=True) if name is not None]
        noticed = {}
        for host, name in changed:
            host.run(BY_HAND[str(host.firewall)][name].replace("LAN", lab.lan_cidrs[0]))
            noticed[host.name] = everything(host) != right[host.name]
        repaired = firewalls.apply(*(host for host, _ in changed))
        for host, name in changed:
            found[str(host.firewall), name] = Outcome(
                noticed[host.name], host.name in repaired, everything(host) == right[host.name]
            )
    assert firewalls.apply(*hosts, dry=True) == set()
    return found


@pytest.mark.parametrize(
    ("firewall", "name"), [(firewall, name) for firewall, changes in BY_HAND.items() for name in changes]
)
def test_a_rule_of_ours_changed_by_hand_is_put_right(
    firewall: str, name: str, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    assert outcomes[firewall, name] == Outcome(noticed=True, repaired=True, right=True)
