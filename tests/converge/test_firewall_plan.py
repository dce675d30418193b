"""What fleet.yaml says of the firewall, as `drift` tells it: demands, what is only told, and loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from converge.conftest import MakeFleet
from converge.firewall_support import PORT, Firewalls, booted
from converge.fleet_directory import FleetDirectory
from lab import Host, Lab
from lab.outfit import HostOptions

pytestmark = pytest.mark.lab

KINDS = ("ufw", "nftables", "firewalld", "none")


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    """One host of each kind; where there is a firewall, it lets the lan in."""
    options: dict[str, HostOptions] = {
        "plan-ufw": {"firewall": "ufw"},
        "plan-nftables": {"firewall": "nftables"},
        "plan-firewalld": {"firewall": "firewalld"},
        "plan-none": {},
    }
    with booted(lab, options) as hosts:
        Firewalls(lab, tmp_path_factory.mktemp("plan")).apply(*hosts)
        yield dict(zip(KINDS, hosts, strict=True))


@pytest.fixture(scope="module")
def fleet(lab: Lab, hosts: dict[str, Host], make_fleet: MakeFleet) -> FleetDirectory:
    return make_fleet(
        {
            "defaults": {"listen": f"[::]:{PORT}", "firewall": {"allow_from": lab.lan_cidrs}},
            "hosts": {host.name: {"address": host.address} for host in hosts.values()},
        }
    )


def drift(fleet: FleetDirectory) -> dict[str, dict[str, Any]]:
    run = fleet.drift()
    assert run.code in (1, 2), run
    return {name.removeprefix("plan-"): host for name, host in run.document["hosts"].items()}


def firewall_changes(host: dict[str, Any]) -> list[str]:
    return [
        f"{difference['aspect']}: {difference['actual']} → {difference['expected']}"
        for change in host["changes"]
        if change["kind"] == "firewall"
        for difference in change["differences"]
    ]


def firewall_notes(host: dict[str, Any]) -> list[str]:
    return [note for note in host["notes"] if "firewall" in note or "ufw" in note]


def test_a_firewall_that_is_demanded_must_be_the_one_that_is_on(
    hosts: dict[str, Host], fleet: FleetDirectory
) -> None:
    """One line for a host where it is not; the others are reported all the same."""
    demands = {"ufw": "nftables", "nftables": "nftables", "firewalld": "firewalld", "none": "ufw"}
    fleet.change(hosts={hosts[kind].name: {"firewall": {"backend": name}} for kind, name in demands.items()})
    found = drift(fleet)
    lines = (fleet.path / "fleet.yaml").read_text().splitlines()
    for kind, expected in {
        "ufw": "firewall.backend: nftables is demanded, but the firewall there is ufw; "
        "switch firewalls on the host, or write backend: auto",
        "none": "firewall.backend: ufw is demanded, but no firewall is active there; "
        "write enabled: true to have it switched on, or write backend: auto",
    }.items():
        place, _, said = found[kind]["error"].partition(": ")
        assert said == expected
        assert place.rpartition(":")[0].endswith("fleet.yaml")
        assert f'"backend": "{demands[kind]}"' in lines[int(place.rpartition(":")[2]) - 1]
    assert found["nftables"]["error"] is None
    assert found["firewalld"]["error"] is None
    fleet.change(hosts={host.name: {"firewall": {"backend": "auto"}} for host in hosts.values()})


def test_rules_of_others_that_matter_are_told_and_are_no_drift(
    lab: Lab, hosts: dict[str, Host], fleet: FleetDirectory
) -> None:
    """Wider openings, refusals that come first; and a host on which nothing keeps anybody out."""
    four, six = lab.lan_cidrs
    before = drift(fleet)
    assert {kind: firewall_notes(host) for kind, host in before.items()} == {
        "ufw": [],
        "nftables": [],
        "firewalld": [],
        "none": [f"no firewall is active: whoever reaches port {PORT} can use and change the models"],
    }
    hosts["ufw"].run(
        f"ufw insert 1 limit from {lab.networks['lan'].address(77)} to any port {PORT};"
        f"ufw allow 11000:12000/tcp; ufw deny {PORT}/tcp; ufw allow from {four}"
    )
    hosts["nftables"].run(
        f"nft insert rule inet filter input ip saddr {four} tcp dport {{ 80, {PORT} }} drop;"
        "nft insert rule inet filter input tcp dport 81 drop"
    )
    hosts["firewalld"].run(
        f"firewall-cmd --permanent --add-port={PORT}/tcp; firewall-cmd --zone=block --add-source={six}"
    )
    after = drift(fleet)
    assert [firewall_changes(host) for host in after.values()] == [[], [], [], []]
    theirs = "a firewall rule of somebody else"
    assert firewall_notes(after["ufw"]) == [
        f"{theirs} limits those who may reach port {PORT}: "
        f"limit in from {lab.networks['lan'].address(77)}/32 to any port {PORT}",
        f"{theirs} opens port {PORT}: allow in proto tcp from 0.0.0.0/0 to any port 11000:12000",
        f"{theirs} opens port {PORT}: allow in proto tcp from ::/0 to any port 11000:12000",
    ]
    (refused,) = firewall_notes(after["nftables"])
    assert refused.startswith(
        f"{theirs} in inet filter input refuses those who may reach port {PORT}: ip saddr {four}"
    )
    assert firewall_notes(after["firewalld"]) == [
        f"{theirs} in zone public opens port {PORT}: port {PORT}/tcp; ours come first, so it has no effect",
        f"the firewall's zone block refuses {six}, so they cannot reach port {PORT}",
    ]


def test_rules_go_when_the_server_listens_on_loopback_only(
    hosts: dict[str, Host], fleet: FleetDirectory
) -> None:
    fleet.change(defaults={"listen": f"127.0.0.1:{PORT}"})
    found = drift(fleet)
    for kind in ("ufw", "nftables", "firewalld"):
        changes = firewall_changes(found[kind])
        assert changes, kind
        assert all(change.endswith(("→ absent", "→ none")) for change in changes)
    assert firewall_changes(found["none"]) == []
    assert [firewall_notes(host) for host in found.values()] == [[], [], [], []]
