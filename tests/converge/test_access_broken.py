"""What watches over the front door, held to doors that are broken on purpose: each must be noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from converge.conftest import MakeFleet
from converge.door_attacks import fuzz, look_alikes, upgrades
from converge.door_table import ALICE, OPS, wrongly_let_in
from converge.front_door import FOLDER, UNIT, FrontDoor
from lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.soak]

SERVER = "reverse_proxy 127.0.0.1:11434 {\n header_up Host {upstream_hostport}\n header_up -Authorization\n}"
BREAKS = {
    "clients may do what administrators may": [
        (r"@forbidden expression `.*`", "@forbidden expression `false`"),
        (r'in \["admin"\]', 'in ["client", "admin"]'),
    ],
    "without a token one may do what clients may": [
        (r"@nobody expression `.*`", "@nobody expression `false`"),
        (r'in \["client", "admin"\]', 'in ["none", "client", "admin"]'),
    ],
    "what is not on the list passes": [(r'respond "not open here" 404', SERVER)],
    "a pattern that fits a part of a path": [(r"matches\(.\^/v1/models/.*?\$.\)", 'matches("/v1/models/")')],
    "all methods": [(r"\{http.request.method\} in \[[^]]*\] && ", "")],
    "paths are cleaned before they are compared": [
        (r"@upgrade header", "uri path_regexp .*(/api/.*) $1\n\t@upgrade header"),
        (r"@forbidden expression `.*`", "@forbidden path /none"),
        (r'@admin0 expression `\{fleet.role\} in \["admin"\]', '@admin0 expression `{fleet.role} != "none"'),
    ],
    "the server sees tokens": [(r"header_up -Authorization", "")],
    "the server sees the name that clients use": [(r"header_up Host .*", "")],
    "upgrades": [(r"@upgrade header Upgrade \*", "@upgrade header Never *")],
}


@pytest.fixture(scope="module")
def door(lab: Lab, make_fleet: MakeFleet) -> Iterator[FrontDoor]:
    host = lab.host("ajar", firewall="ufw")
    fleet = make_fleet(
        {
            "defaults": {
                "firewall": {"allow_from": [*lab.cidrs("lan"), *lab.cidrs("office")]},
                "access": {"tokens": {"alice": "env:ALICE_TOKEN"}, "admin_tokens": {"ops": "env:OPS_TOKEN"}},
            },
            "hosts": {"ajar": {"address": host.address}},
        }
    )
    fleet.environment |= {"ALICE_TOKEN": ALICE, "OPS_TOKEN": OPS}
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    yield FrontDoor(fleet, host, lab)
    lab.remove(host)


def looked_at(door: FrontDoor) -> None:
    """All that is tried on a door. Raises AssertionError where something is wrong."""
    with door.recording():
        assert wrongly_let_in(door, ("lan", "office")) == []
    upgrades(door)
    look_alikes(door)
    fuzz(door, seed=1, count=300)


def test_a_door_as_it_should_be(door: FrontDoor) -> None:
    looked_at(door)


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_door_is_noticed(door: FrontDoor, broken: str) -> None:
    config = door.host.read(f"{FOLDER}/Caddyfile")
    altered = config
    for pattern, instead in BREAKS[broken]:
        altered, found = re.subn(pattern, lambda _, text=instead: text, altered)
        assert found, pattern
    door.host.write(f"{FOLDER}/Caddyfile", altered)
    try:
        door.host.run(f"systemctl reload {UNIT}")
        with pytest.raises(AssertionError):
            looked_at(door)
    finally:
        door.host.write(f"{FOLDER}/Caddyfile", config)
        door.host.run(f"systemctl reload {UNIT}")
