"""The front door with certificates by ACME, of an authority on another host."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from converge.acme_authority import DIRECTORY, NAME, Authority, know
from converge.conftest import MakeFleet
from converge.door_table import ALICE, WRONG
from converge.fleet_directory import FleetDirectory
from converge.front_door import FOLDER, UNIT
from converge.outside_view import main_pid
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

FIRST, SECOND = "gpu.lab.test", "chat.lab.test"


@dataclass
class Door:
    """A host with such a door, and the authority."""

    fleet: FleetDirectory
    host: Host
    authority: Authority

    def status(self, name: str, token: str, *, roots: str | None = None) -> int:
        """What a client is answered that trusts the authority and nobody else, and comes by a name."""
        context = ssl.create_default_context(cadata=roots or self.authority.root())
        connection = http.client.HTTPSConnection(name, 443, timeout=30)
        connection.sock = context.wrap_socket(
            socket.create_connection((self.host.address, 443), 30), server_hostname=name
        )
        try:
            connection.request("GET", "/api/tags", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def change(self, **access: object) -> None:
        self.fleet.change(defaults={"access": access})


@pytest.fixture(scope="module")
def door(lab: Lab, make_fleet: MakeFleet) -> Iterator[Door]:
    host, authority = lab.host("acme", firewall="ufw"), Authority(lab.host("authority"))
    know(host, NAME, authority.host.address)
    for name in (FIRST, SECOND):
        know(authority.host, name, host.address)
    authority.install()
    fleet = make_fleet(
        {
            "defaults": {
                "firewall": {"allow_from": lab.cidrs("lan")},
                "access": {
                    "tls": "acme",
                    "listen": "[::]:443",
                    "names": [FIRST],
                    "acme": {"server": DIRECTORY, "ca": "root.pem", "email": "ops@lab.test"},
                    "tokens": {"alice": "env:ALICE_TOKEN"},
                },
            },
            "hosts": {"acme": {"address": host.address, "models": ["reasoner"]}},
        }
    )
    fleet.environment["ALICE_TOKEN"] = ALICE
    (fleet.path / "root.pem").write_text(authority.root())
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    yield Door(fleet, host, authority)
    lab.remove(host)
    lab.remove(authority.host)


def test_a_client_that_trusts_the_authority_gets_in(door: Door) -> None:
    assert door.status(FIRST, ALICE) == 200
    assert door.status(FIRST, WRONG) == 401
    with pytest.raises(ssl.SSLError):
        door.status(SECOND, ALICE)
    listening = door.host.run("ss --listening --tcp --numeric --no-header").stdout
    assert ":443 " in listening
    assert ":80 " not in listening


def test_a_second_run_changes_nothing(door: Door) -> None:
    again = door.fleet.apply()
    assert again.code == 0, str(again)
    assert again.changed("acme") == set()
    assert door.fleet.drift().code == 0
    verified = door.fleet.run("ollama-fleet", "verify", "--depth", "quick", "--json")
    assert verified.code == 0, str(verified)
    (told,) = verified.document["hosts"]["acme"]["outside"]
    assert told.endswith("the front door is open, and should be open")


def test_a_renewal_is_no_drift(door: Door) -> None:
    """What the proxy keeps of the authority is its own; a certificate that is gone is asked for anew."""
    door.host.run(f"rm -r /var/lib/ollama-fleet-access/caddy/certificates; systemctl restart {UNIT}")
    assert door.fleet.drift().code == 0


def test_to_an_authority_of_the_host_and_back(door: Door) -> None:
    before = main_pid(door.host, UNIT)
    door.change(tls="internal", acme=None)
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert not door.host.exists(f"{FOLDER}/acme-ca.pem")
    own = door.host.read("/var/lib/ollama-fleet-access/caddy/pki/authorities/local/root.crt")
    assert door.status(FIRST, ALICE, roots=own) == 200

    door.change(tls="acme", acme={"server": DIRECTORY, "ca": "root.pem"})
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert door.status(FIRST, ALICE) == 200
    assert main_pid(door.host, UNIT) == before


def test_an_authority_that_is_gone_is_told_in_one_line(door: Door) -> None:
    door.authority.stop()
    door.change(names=[FIRST, SECOND])
    failed = door.fleet.apply()
    assert failed.code == 1, str(failed)
    lines = [line for line in failed.text.splitlines() if "acme: no certificate for" in line]
    assert lines, str(failed)
    for line in lines:  # where it happens, and in the summary
        assert f"no certificate for {SECOND}: " in line
        assert "connection refused" in line
    assert "Traceback" not in failed.text
    assert ALICE not in failed.text
    assert door.status(FIRST, ALICE) == 200
    assert door.fleet.drift().drifted("acme") == {"access front door"}

    door.authority.start()
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert door.status(SECOND, ALICE) == 200


def test_another_root_is_found_out(door: Door) -> None:
    """The door has its certificate, and whoever verifies holds it to what fleet.yaml says."""
    own = door.host.read("/var/lib/ollama-fleet-access/caddy/pki/authorities/local/root.crt")
    (door.fleet.path / "root.pem").write_text(own)
    try:
        verified = door.fleet.run("ollama-fleet", "verify", "--depth", "quick")
        assert verified.code == 1, str(verified)
        assert f"the certificate of the front door is not one for {FIRST} by its authority" in verified.text
    finally:
        (door.fleet.path / "root.pem").write_text(door.authority.root())
