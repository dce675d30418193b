"""`firewall: {enabled: true}` in fleet.yaml, from the dry run to the firewall that stays on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converge.conftest import MakeFleet
from converge.fleet_directory import FleetDirectory
from lab import Host, Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    """Where ufw is installed, and off."""
    host = lab.host("switched-on")
    yield host
    lab.remove(host)


@pytest.fixture(scope="module")
def fleet(lab: Lab, host: Host, make_fleet: MakeFleet) -> FleetDirectory:
    return make_fleet(
        {
            "defaults": {
                "listen": "0.0.0.0:11434",
                "firewall": {"allow_from": lab.cidrs("lan"), "enabled": True},
            },
            "hosts": {host.name: {"address": host.address}},
        }
    )


def firewall_changes(fleet: FleetDirectory) -> list[str]:
    run = fleet.drift()
    (there,) = run.document["hosts"].values()
    assert there["error"] is None, str(run)
    return [change["kind"] for change in there["changes"] if change["kind"] == "firewall"]


def is_on(host: Host) -> bool:
    return "Status: active" in host.run("ufw status").stdout


def test_a_firewall_that_is_off_is_switched_on_by_an_apply(host: Host, fleet: FleetDirectory) -> None:
    dry = fleet.dry()
    assert dry.code == 0, str(dry)
    assert not is_on(host)
    assert firewall_changes(fleet) == ["firewall"]
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    assert is_on(host)
    assert "11434" in host.run("ufw status").stdout


def test_then_it_is_as_asked_and_off_again_is_drift(host: Host, fleet: FleetDirectory) -> None:
    assert firewall_changes(fleet) == []
    again = fleet.apply()
    assert again.code == 0, str(again)
    assert not again.changed(host.name), str(again)
    host.run("ufw disable")
    assert firewall_changes(fleet) == ["firewall"]
    assert fleet.apply().code == 0
    assert is_on(host)


def test_what_retire_leaves_lets_ssh_in(host: Host, fleet: FleetDirectory) -> None:
    run = fleet.run("ollama-fleet", "retire", host.name, "-y")
    assert run.code == 0, str(run)
    assert "11434" not in host.run("ufw status").stdout
    assert is_on(host)
    assert firewall_changes(fleet) == ["firewall"], "it can still be reached, and told what it lacks"
