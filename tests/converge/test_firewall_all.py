"""What holds for every firewall: open to whom it should be, shut to all others, nobody else's rules touched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from converge.firewall_support import OTHER_PORT, PORT, Firewalls, booted, listen, reached
from lab import Host, Lab
from lab.fixtures import BootHost
from lab.outfit import HostOptions

pytestmark = pytest.mark.lab

BY_SOMEBODY_ELSE = {
    "ufw": "ufw allow 8080/tcp comment 'not yours'; ufw limit 2222/tcp",
    "nftables": "nft add rule inet filter input tcp dport 8080 accept comment 'not-yours'; nft add table ip other",
    "firewalld": (
        "firewall-cmd --quiet --permanent --add-port=8080/tcp; firewall-cmd --quiet --add-port=9090/tcp;"
        "firewall-cmd --quiet --add-rich-rule='rule priority=-5 port port=9091 protocol=tcp accept'"
    ),
    "iptables": "iptables -A INPUT -p tcp --dport 8080 -j ACCEPT; iptables -N not-yours; ip6tables -A INPUT -j DROP",
}
"""firewalld's last two are in the running firewall only: a reload would lose them."""


def rules_of_others(host: Host) -> list[str]:
    """All that the firewall says in its own words, without our rules."""
    match host.firewall:
        case "ufw":
            told = host.run("ufw status verbose; cat /etc/ufw/user.rules /etc/ufw/user6.rules").stdout
            told = re.sub(r"\n### tuple ### .*comment=6f6c6c616d612d666c656574\n.*\n", "", told)
            return [line for line in told.splitlines() if "# ollama-fleet" not in line]
        case "nftables":
            told = host.run("nft list ruleset").stdout
            told = re.sub(r"(?ms)^table inet ollama_fleet \{.*?^\}\n", "", told)
            return [line for line in told.splitlines() if 'comment "ollama-fleet"' not in line]
        case "iptables":
            told = host.run("iptables -S; ip6tables -S").stdout
            return [line for line in told.splitlines() if "OLLAMA-FLEET" not in line]
        case _:
            told = host.run("firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones").stdout
            return [line for line in told.splitlines() if f'port="{PORT}"' not in line]


def our_rules(host: Host, port: int) -> set[object]:
    """Our rules in the firewall's own words, brought to the form `VERDICT SOURCE`."""
    match host.firewall:
        case "ufw":
            told = host.run("ufw status").stdout
            return set(
                re.findall(rf"^{port}/tcp +(ALLOW +\S+|DENY +\S+) +# ollama-fleet", told, re.MULTILINE)
            )
        case "nftables":
            told = host.run("nft list chain inet ollama_fleet input", check=False).stdout
            return set(re.findall(rf"saddr (\S+) tcp dport {port} (accept)", told))
        case "iptables":
            told = host.run("iptables -S; ip6tables -S").stdout
            return {
                (source, verdict.lower())
                for source, verdict in re.findall(
                    rf"-A OLLAMA-FLEET -s (\S+) .*--dport {port} -j (ACCEPT)", told
                )
            }
        case _:
            return set(
                re.findall(rf'address="(\S+)" port port="{port}" protocol="tcp" (accept)', _zones(host))
            )


def _zones(host: Host) -> str:
    running, kept = (
        host.run(f"firewall-cmd {where} --zone=public --list-rich-rules").stdout
        for where in ("", "--permanent")
    )
    assert sorted(re.findall('.*priority="-327.*', running)) == sorted(re.findall('.*priority="-327.*', kept))
    return running


def wanted(host: Host, sources: list[str]) -> set[object]:
    """What `our_rules` should tell."""
    if host.firewall == "ufw":
        return {f"ALLOW       {source}" for source in sources}
    return {(source, "accept") for source in sources}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[list[Host]]:
    options: dict[str, HostOptions] = {
        "wall-ufw": {"firewall": "ufw"},
        "wall-nft": {"firewall": "nftables"},
        "wall-fwd": {"firewall": "firewalld"},
        "wall-ipt": {"firewall": "iptables"},
    }
    with booted(lab, options) as hosts:
        for host in hosts:
            host.run(BY_SOMEBODY_ELSE[str(host.firewall)])
        yield hosts


@pytest.fixture(scope="module")
def firewalls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Firewalls:
    """Two hosts are reached as root, the others through sudo."""
    return Firewalls(lab, tmp_path_factory.mktemp("firewalls"), frozenset({"wall-nft", "wall-fwd"}))


def test_a_life_with_a_firewall(hosts: list[Host], firewalls: Firewalls, lab: Lab) -> None:
    """Opened, changed, rebooted, moved to another port, and taken away again."""
    names = {host.name for host in hosts}
    before = [rules_of_others(host) for host in hosts]
    assert [reached(host) for host in hosts] == [[]] * 4

    assert firewalls.apply(*hosts, dry=True) == names
    assert [our_rules(host, PORT) for host in hosts] == [set()] * 4

    assert firewalls.apply(*hosts) == names
    for host in hosts:
        assert our_rules(host, PORT) == wanted(host, lab.lan_cidrs)
        assert reached(host) == [4, 6], host
        assert reached(host, lab.outside, patience=3) == [], host
        assert reached(host, lab.office) == [], host
    assert [rules_of_others(host) for host in hosts] == before
    assert firewalls.apply(*hosts) == set()

    with ThreadPoolExecutor() as pool:
        list(pool.map(Host.reboot, hosts))
    for host in hosts:
        assert our_rules(host, PORT) == wanted(host, lab.lan_cidrs)
        assert reached(host) == [4, 6], host
        assert reached(host, lab.outside, patience=3) == [], host
    assert firewalls.apply(*hosts, dry=True) == set()

    before = [rules_of_others(host) for host in hosts]
    assert firewalls.apply(*hosts, sources=[*lab.lan_cidrs, *lab.cidrs("office")]) == names
    assert [reached(host, lab.office) for host in hosts] == [[4, 6]] * 4

    assert firewalls.apply(*hosts, port=OTHER_PORT) == names
    for host in hosts:
        assert our_rules(host, PORT) == set()
        assert our_rules(host, OTHER_PORT) == wanted(host, lab.lan_cidrs)
        assert (reached(host), reached(host, port=OTHER_PORT)) == ([], [4, 6]), host

    assert firewalls.apply(*hosts, present=False) == names
    assert firewalls.apply(*hosts, present=False) == set()
    assert [reached(host, port=OTHER_PORT) for host in hosts] == [[]] * 4
    assert [rules_of_others(host) for host in hosts] == before
    assert not any(host.exists("/etc/systemd/system/ollama-fleet-firewall.service") for host in hosts)


def test_a_host_without_a_firewall_is_left_so(firewalls: Firewalls, lab: Lab, new_host: BootHost) -> None:
    """No rule, no file, and the port as open as it was."""
    host = new_host()
    listen(host)
    before = {
        path: entry for path, entry in host.snapshot().items() if path.startswith(("/etc/", "/var/lib/"))
    }
    assert not firewalls.apply(host)
    after = {
        path: entry for path, entry in host.snapshot().items() if path.startswith(("/etc/", "/var/lib/"))
    }
    assert after == before
    assert host.run("nft list ruleset").stdout == ""
    assert reached(host, lab.outside) == [4, 6]
