"""What tests of firewalls need: the operation run by pyinfra's own command, and a look at ports from outside.

Each host has something that listens; the firewall is all that stands between it and the networks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Host, Lab
from lab.client import Client
from lab.outfit import HostOptions

PORT = 11434
OTHER_PORT = 11500

_LISTENER = f"""\
import socket, threading

def serve(port):
    listening = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        listening.accept()[0].close()

for port in ({PORT}, {OTHER_PORT}):
    threading.Thread(target=serve, args=(port,)).start()
"""

_UNIT = """\
[Unit]
Description=Something that listens
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/listener.py
[Install]
WantedBy=multi-user.target
"""

_DEPLOY = """\
from pyinfra.context import host

from ollama_fleet.operations import firewall

firewall.allow(
    name="Firewall",
    port=host.data.port,
    sources=host.data.sources,
    present=host.data.present,
    enabled=host.data.enabled,
)
"""

_CONNECT = """\
import socket, sys, threading

def connect(address):
    try:
        socket.create_connection((address, int(sys.argv[1])), float(sys.argv[2])).close()
        sys.stdout.write(address + "\\n")
    except OSError:
        pass

for address in sys.argv[3:]:
    threading.Thread(target=connect, args=(address,)).start()
"""


def listen(host: Host) -> None:
    """Have something accept connections on both ports, IPv4 and IPv6, also after a reboot."""
    host.write("/usr/local/lib/listener.py", _LISTENER)
    host.write("/etc/systemd/system/listener.service", _UNIT)
    host.run("systemctl daemon-reload && systemctl enable --now listener.service")


@contextmanager
def booted(lab: Lab, wanted: Mapping[str, HostOptions]) -> Iterator[list[Host]]:
    """Hosts with something that listens, for the tests of one file; so that no more run at once than are needed."""
    hosts = lab.hosts(wanted)
    try:
        for host in hosts:
            listen(host)
        yield hosts
    finally:
        for host in hosts:
            lab.remove(host)


@dataclass(frozen=True)
class Firewalls:
    """The operation on hosts of a lab, run from a directory of its own."""

    lab: Lab
    directory: Path
    sudoers: frozenset[str] = frozenset()
    """Names of the hosts that are reached as admin, who may use sudo, and not as root."""

    def apply(
        self,
        *hosts: Host,
        sources: Sequence[str] | None = None,
        port: int | Sequence[int] = PORT,
        present: bool = True,
        enabled: bool = False,
        dry: bool = False,
        address: str | None = None,
        ssh_port: int = 22,
    ) -> set[str]:
        """Run it; returns the names of the hosts that it changes.

        Args:
            hosts: reached at their addresses on the lab's lan.
            sources: networks; the lan's by default.
            port: or ports, that they may use.
            present: False takes all away.
            enabled: a firewall that is off is switched on.
            dry: only tell.
            address: reach the host at this one.
            ssh_port: reach it by this port.

        Raises:
            AssertionError: it failed; with the output.
        """
        asked = {"port": port, "sources": sources, "present": present, "enabled": enabled}
        command, directory = self._command(hosts, asked, dry=dry, address=address, ssh_port=ssh_port)
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        operations = told["plan"] if dry else told["results"]["operations"]
        outcome = "hosts_with_change" if dry else "success"
        return {name for operation in operations for name in operation[outcome]}

    def refused(self, *hosts: Host, **asked: Any) -> str:
        """Run it where it must fail; returns all that it said. Arguments as for `apply`."""
        try:
            self.apply(*hosts, **asked)
        except AssertionError as error:
            return str(error)
        raise AssertionError("it did not fail")

    @contextmanager
    def running(self, *hosts: Host, enabled: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """Run it in the background, to be killed."""
        asked = {"port": PORT, "sources": None, "present": True, "enabled": enabled}
        command, directory = self._command(hosts, asked)
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=directory, stdin=quiet, stdout=quiet, stderr=quiet) as process:
            try:
                yield process
            finally:
                process.kill()

    def _command(
        self,
        hosts: Sequence[Host],
        asked: Mapping[str, object],
        *,
        dry: bool = False,
        address: str | None = None,
        ssh_port: int = 22,
    ) -> tuple[list[str], Path]:
        """The command, and the directory to run it in."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        data = {**asked, "sources": self.lab.lan_cidrs if asked["sources"] is None else asked["sources"]}
        inventory = [(host.name, {**data, **self._connection(host, address, ssh_port)}) for host in hosts]
        (directory / "inventory.py").write_text(f"hosts = {inventory!r}\n")
        (directory / "deploy.py").write_text(_DEPLOY)
        pyinfra = str(Path(sys.executable).parent / "pyinfra")
        return [pyinfra, "--json", "--dry" if dry else "-y", "inventory.py", "deploy.py"], directory

    def _connection(self, host: Host, address: str | None, ssh_port: int) -> dict[str, object]:
        sudo = host.name in self.sudoers
        return {
            "ssh_hostname": address or host.address,
            "ssh_port": ssh_port,
            "ssh_user": "admin" if sudo else "root",
            "ssh_key": str(self.lab.key),
            "ssh_known_hosts_file": str(self.lab.known_hosts),
            # Known hosts name the usual port only.
            "ssh_strict_host_key_checking": "yes" if ssh_port == 22 else "off",
            "_sudo": sudo,
        }


def reached(host: Host, client: Client | None = None, port: int = PORT, patience: float = 1) -> list[int]:
    """IP versions by which the port answers within `patience` seconds.

    The client is on its own network, `lan` where it is None: there it is this machine.
    """
    if client is None:
        addresses = {host.address: 4, host.address6: 6}
    elif client.network.name == "office":
        addresses = {host.office_address(4): 4, host.office_address(6): 6}
    else:
        addresses = {host.outside_address(4): 4, host.outside_address(6): 6}
    command = [sys.executable, "-c", _CONNECT, str(port), str(patience), *addresses]
    if client is not None:
        command = client.command(command)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return sorted(addresses[address] for address in done.stdout.split())


def everything(host: Host) -> list[str]:
    """The whole firewall in its own words, running and on disk, in an order that does not depend on its own."""
    match host.firewall:
        case "ufw":
            command = "ufw status verbose; iptables -S ufw-user-input; ip6tables -S ufw6-user-input; cat /etc/ufw/user*"
        case "nftables":
            command = (
                "nft list ruleset; cat /var/lib/ollama-fleet/firewall.sh /etc/systemd/system/ollama-fleet*"
            )
        case "iptables":
            command = (
                "iptables -S; ip6tables -S; "
                "cat /var/lib/ollama-fleet/firewall.sh /etc/systemd/system/ollama-fleet*"
            )
        case _:
            command = "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones"
    lines = host.run(command, check=False).stdout.splitlines()
    # ufw appends what it puts back and firewalld lists rich rules in no certain order; in the others order is all.
    return lines if host.firewall in ("nftables", "iptables") else sorted(lines)
