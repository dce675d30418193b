"""What watches over the front door, held to doors that are broken on purpose: each must be noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from converge.conftest import MakeFleet
from converge.door_attacks import fuzz, look_alikes, upgrades
from converge.door_certificate import CERTIFIED, make_certificate
from converge.door_table import ALICE, OPS, wrongly_let_in
from converge.front_door import UNIT, FrontDoor
from lab import Lab
from ollama_fleet.planner.items.access.places import PROXIES

pytestmark = [pytest.mark.lab, pytest.mark.soak]

SERVER = "reverse_proxy 127.0.0.1:11434 {\n header_up Host {upstream_hostport}\n header_up -Authorization\n}"
Break = list[tuple[str, str]]
"""Patterns in the proxy's configuration, and what stands there instead."""

CADDY: dict[str, Break] = {
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
NGINX: dict[str, Break] = {
    "clients may do what administrators may": [
        (r"if \(\$fleet_verdict = forbidden\)", 'if ($fleet_verdict = "never")'),
        (r"\(\?:admin\)", "(?:client|admin)"),
    ],
    "without a token one may do what clients may": [
        (r'if \(\$fleet_role = ""\)', 'if ($fleet_role = "never")'),
        (r"\(\?:client\|admin\)", "(?:client|admin|)"),
    ],
    "what is not on the list passes": [
        (r"(?s)(map [^\n]* \$fleet_verdict .*?default) [^;]*", r"\1 fleet0"),
    ],
    "a pattern that fits a part of a path": [(r"v1/models/\[A-Za-z0-9\]\[[^]]*\]\*", "v1/models/.*")],
    "all methods": [(r"\(\?:DELETE\)|\(\?:POST\)|\(\?:GET\|HEAD\)", "[A-Z]+")],
    "tokens without their case": [('"~\\^Bearer', '"~*^Bearer')],
    "the server sees tokens": [(r'proxy_set_header Authorization "";', "")],
    "the server sees the name that clients use": [(r"Host \$fleet_host", "Host $http_host")],
    "upgrades": [(r'if \(\$http_upgrade != ""\)', 'if ($http_upgrade = "never")')],
}
BREAKS = {"caddy": CADDY, "nginx": NGINX}


@pytest.fixture(scope="module")
def ajar(lab: Lab, make_fleet: MakeFleet) -> Iterator[FrontDoor]:
    host = lab.host("ajar", firewall="ufw")
    fleet = make_fleet(
        {
            "defaults": {
                "firewall": {"allow_from": [*lab.cidrs("lan"), *lab.cidrs("office")]},
                "access": CERTIFIED,
            },
            "hosts": {"ajar": {"address": host.address}},
        }
    )
    make_certificate(fleet.path, "ajar")
    fleet.environment |= {"ALICE_TOKEN": ALICE, "OPS_TOKEN": OPS}
    yield FrontDoor(fleet, host, lab)
    lab.remove(host)


@pytest.fixture(scope="module", params=BREAKS)
def proxy(request: pytest.FixtureRequest, ajar: FrontDoor) -> str:
    name: str = request.param
    ajar.fleet.change(defaults={"access": {"proxy": name}})
    applied = ajar.fleet.apply()
    assert applied.code == 0, str(applied)
    return name


def looked_at(door: FrontDoor) -> None:
    """All that is tried on a door. Raises AssertionError where something is wrong."""
    with door.recording():
        assert wrongly_let_in(door, ("lan", "office")) == []
    upgrades(door)
    look_alikes(door)
    fuzz(door, seed=1, count=500)


def test_a_door_as_it_should_be(ajar: FrontDoor, proxy: str) -> None:
    assert proxy in BREAKS
    looked_at(ajar)


@pytest.mark.parametrize("broken", sorted({*CADDY, *NGINX}))
def test_a_broken_door_is_noticed(ajar: FrontDoor, proxy: str, broken: str) -> None:
    if broken not in BREAKS[proxy]:
        pytest.skip(f"{proxy} has no such way to be broken")
    path = PROXIES[proxy].config
    if broken == "tokens without their case":
        path = PROXIES[proxy].tokens
    right = altered = ajar.host.read(path)
    for pattern, instead in BREAKS[proxy][broken]:
        altered, found = re.subn(pattern, instead, altered)
        assert found, pattern
    ajar.host.run(f"cp -p {path} {path}.right")
    try:
        ajar.host.write(path, altered, 0o644)
        ajar.host.run(f"systemctl reload {UNIT}")
        with pytest.raises(AssertionError):
            looked_at(ajar)
    finally:
        ajar.host.run(f"mv {path}.right {path} && systemctl reload {UNIT}")
    assert ajar.host.read(path) == right
