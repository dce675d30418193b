"""The front door with nginx: held to the same as with Caddy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.conftest import MakeFleet
from converge.door_attacks import fuzz, look_alikes, upgrades
from converge.door_certificate import CERTIFIED, make_certificate, subject
from converge.door_load import crowd, long_answer, pieces
from converge.door_paths import BY_INSTANCE, INSTANCES, path_status
from converge.door_table import ALICE, OPS, WRONG, wrongly_let_in
from converge.front_door import FOLDER, UNIT, FrontDoor
from converge.outside_view import main_pid
from lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def door(lab: Lab, make_fleet: MakeFleet) -> Iterator[FrontDoor]:
    """Reached by sudo, where there has been a door with Caddy before."""
    host = lab.host("gate", firewall="nftables")
    fleet = make_fleet(
        {
            "defaults": {
                "firewall": {"allow_from": [*lab.cidrs("lan"), *lab.cidrs("office")]},
                "access": CERTIFIED,
            },
            "hosts": {
                "gate": {
                    "address": host.address,
                    "models": ["reasoner"],
                    "ssh": {"user": "admin"},
                    "sudo": True,
                }
            },
        }
    )
    make_certificate(fleet.path, "gate-1")
    fleet.environment |= {"ALICE_TOKEN": ALICE, "OPS_TOKEN": OPS}
    for proxy in (None, "nginx"):
        fleet.change(defaults={"access": {"proxy": proxy}})
        applied = fleet.apply()
        assert applied.code == 0, str(applied)
        assert "PRIVATE" not in applied.text
    yield FrontDoor(fleet, host, lab)
    lab.remove(host)


def test_nothing_of_the_other_proxy_is_left(door: FrontDoor) -> None:
    again = door.fleet.apply()
    assert again.code == 0, str(again)
    assert again.changed("gate") == set()
    drift = door.fleet.drift()
    assert drift.code == 0, str(drift)
    for name in ("Caddyfile", "tokens.caddy"):
        assert not door.host.exists(f"{FOLDER}/{name}")
    assert door.host.run("systemctl is-active nginx caddy", check=False).stdout.split() == ["inactive"] * 2
    assert door.host.run(f"stat -c '%U:%G %a' {FOLDER}/tokens.nginx").stdout == "root:ollama-access 640\n"


def test_who_gets_in(door: FrontDoor) -> None:
    with door.recording():
        assert wrongly_let_in(door, ("lan", "office")) == []


def test_no_way_round(door: FrontDoor) -> None:
    look_alikes(door)
    upgrades(door)
    fuzz(door, seed=20240925, count=500)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_no_way_round_by_any_request(door: FrontDoor, seed: int) -> None:
    fuzz(door, seed=seed, count=10_000)


def test_an_answer_arrives_piece_by_piece(door: FrontDoor) -> None:
    pieces(door)


def test_a_crowd_loses_nothing(door: FrontDoor) -> None:
    crowd(door, clients=20, seconds=0, least=3)


@pytest.mark.soak
def test_two_hundred_clients_for_two_minutes_lose_nothing(door: FrontDoor) -> None:
    crowd(door, clients=200, seconds=120, least=1)


def test_tokens_and_prompts_are_in_no_log(door: FrontDoor) -> None:
    for path in ("/api/tags", "/api/nowhere?prompt=hush", f"/api/tags?key={ALICE}"):
        door.status("GET", path, ALICE)
    door.status("POST", "/api/pull", WRONG, b'{"model": "hush"}')
    everything = door.access_log() + door.host.run("journalctl --no-pager").stdout
    everything += door.host.run(["cat", f"{FOLDER}/nginx.conf", f"/etc/systemd/system/{UNIT}"]).stdout
    for secret in (ALICE, OPS, WRONG, "hush"):
        assert secret not in everything


def test_tokens_certificate_and_limit_change_and_a_stream_goes_on(door: FrontDoor, tmp_path: Path) -> None:
    newer, large = secrets.token_hex(32), b"x" * (2 << 20)
    proxy = main_pid(door.host, UNIT)
    with long_answer(door, tmp_path):
        door.fleet.environment["ALICE_TOKEN"] = newer
        door.fleet.change(defaults={"access": {"max_body": "1MiB"}})
        make_certificate(door.fleet.path, "gate-2")
        told = door.fleet.drift()
        names = ("tokens.nginx", "nginx.conf", "certificate.pem", "key.pem")
        assert told.drifted("gate") == {f"file {FOLDER}/{name}" for name in names}, str(told)
        applied = door.fleet.apply()
        assert applied.code == 0, str(applied)
        assert newer not in told.text + applied.text
        assert door.status("GET", "/api/tags", ALICE) == 401
        assert door.status("GET", "/api/tags", newer) == 200
        assert door.announce("POST", "/api/chat", newer, len(large)) == 413
        assert door.announce("POST", "/api/create", OPS, len(large)) == 413
        with door.connect() as other:
            assert "gate-2" in subject(other.getpeercert(binary_form=True) or b"")
    assert main_pid(door.host, UNIT) == proxy
    with door.recording():
        assert door.status("POST", f"/api/blobs/sha256:{'0' * 64}", OPS, large) == 200


def test_each_instance_has_its_own_path(door: FrontDoor) -> None:
    door.fleet.environment["ALICE_TOKEN"] = ALICE
    door.fleet.change(hosts={"gate": {"instances": INSTANCES}})
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert {path: path_status(door, *path) for path in BY_INSTANCE} == BY_INSTANCE
