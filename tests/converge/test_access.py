"""The front door: who gets in for what, that there is no way round it, and that it is kept as it should be."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.conftest import MakeFleet
from converge.door_attacks import fuzz, look_alikes, upgrades
from converge.door_certificate import make_certificate, subject
from converge.door_load import crowd, long_answer, pieces
from converge.door_paths import BY_INSTANCE, INSTANCES, path_status
from converge.door_table import ALICE, OPS, WRONG, wrongly_let_in
from converge.front_door import FOLDER, PORT, UNIT, FrontDoor
from converge.outside_view import connects, main_pid
from lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def door(lab: Lab, make_fleet: MakeFleet) -> Iterator[FrontDoor]:
    host = lab.host("door", firewall="ufw")
    fleet = make_fleet(
        {
            "defaults": {
                "firewall": {"allow_from": [*lab.cidrs("lan"), *lab.cidrs("office")]},
                "access": {"tokens": {"alice": "env:ALICE_TOKEN"}, "admin_tokens": {"ops": "file:ops-token"}},
            },
            "hosts": {"door": {"address": host.address, "models": ["reasoner"]}},
        }
    )
    fleet.environment["ALICE_TOKEN"] = ALICE
    (fleet.path / "ops-token").write_text(f"{OPS}\n")
    (fleet.path / "ops-token").chmod(0o600)
    told = fleet.pyinfra("--dry", "-y", "--diff").text
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    for token in (ALICE, OPS):
        assert token not in told + applied.text
    yield FrontDoor(fleet, host, lab)
    lab.remove(host)


def test_a_second_run_changes_nothing(door: FrontDoor) -> None:
    again = door.fleet.apply()
    assert again.code == 0, str(again)
    assert again.changed("door") == set()
    drift = door.fleet.drift()
    assert drift.code == 0, str(drift)
    verified = door.fleet.run("ollama-fleet", "verify", "--depth", "quick", "--json")
    assert verified.code == 0, str(verified)
    assert verified.document["hosts"]["door"]["outside"] == [
        "tried from "
        + door.host.networks["lan"].address(1)
        + " alone: the front door is open, and should be open"
    ]
    assert verified.document["hosts"]["door"]["exposed"] == []


def test_who_gets_in(door: FrontDoor) -> None:
    """Networks, tokens, endpoints and families: what is let in is what fleet.yaml says."""
    with door.recording():
        assert wrongly_let_in(door, ("lan", "office")) == []


def test_an_answer_arrives_piece_by_piece(door: FrontDoor) -> None:
    pieces(door)


def test_no_way_round(door: FrontDoor) -> None:
    fuzz(door, seed=20240924, count=500)


def test_only_a_token_as_it_is_lets_in(door: FrontDoor) -> None:
    look_alikes(door)


def test_nothing_is_upgraded(door: FrontDoor) -> None:
    upgrades(door)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_no_way_round_by_any_request(door: FrontDoor, seed: int) -> None:
    fuzz(door, seed=seed, count=10_000)


def test_a_crowd_loses_nothing(door: FrontDoor) -> None:
    crowd(door, clients=20, seconds=0, least=3)


@pytest.mark.soak
def test_two_hundred_clients_for_two_minutes_lose_nothing(door: FrontDoor) -> None:
    crowd(door, clients=200, seconds=120, least=1)


def test_no_request_is_too_large_but_an_upload(door: FrontDoor) -> None:
    door.fleet.change(defaults={"access": {"max_body": "1MiB"}})
    assert door.fleet.apply().code == 0
    with door.recording():
        large = b"x" * (2 << 20)
        assert door.announce("POST", "/api/chat", ALICE, len(large)) == 413
        assert door.announce("POST", "/api/create", OPS, len(large)) == 413
        assert door.status("POST", f"/api/blobs/sha256:{'0' * 64}", OPS, large) == 200
    door.fleet.change(defaults={"access": {"max_body": None}})
    assert door.fleet.apply().code == 0


def test_a_token_changes_and_a_stream_goes_on(door: FrontDoor, tmp_path: Path) -> None:
    server, proxy = main_pid(door.host), main_pid(door.host, UNIT)
    newer = secrets.token_hex(32)
    with long_answer(door, tmp_path):
        door.fleet.environment["ALICE_TOKEN"] = newer
        (door.fleet.path / "ops-token").write_text(f"{newer[::-1]}\n")
        told = door.fleet.drift()
        assert told.drifted("door") == {f"file {FOLDER}/tokens.caddy"}, str(told)
        applied = door.fleet.apply()
        assert applied.code == 0, str(applied)
        assert applied.changed("door") == {"Lock", "Record", "Front door", "Outcome"}

        for token in (ALICE, OPS):
            assert door.status("GET", "/api/tags", token) == 401
            assert token not in told.text + applied.text
        assert door.status("GET", "/api/tags", newer) == 200
        assert door.status("HEAD", f"/api/blobs/sha256:{'0' * 64}", newer[::-1]) == 404
    assert (main_pid(door.host), main_pid(door.host, UNIT)) == (server, proxy)

    door.fleet.environment["ALICE_TOKEN"] = ALICE
    (door.fleet.path / "ops-token").write_text(f"{OPS}\n")
    assert door.fleet.apply().code == 0
    assert door.status("GET", "/api/tags", ALICE) == 200


def test_tokens_are_nowhere_but_in_one_file(door: FrontDoor) -> None:
    for path in ("/api/tags", "/api/nowhere?prompt=hush", f"/api/tags?key={ALICE}"):
        door.status("GET", path, ALICE)
    door.status("POST", "/api/pull", WRONG, b'{"model": "hush"}')
    assert door.host.run(f"stat -c '%U:%G %a' {FOLDER}/tokens.caddy").stdout == "root:ollama-access 640\n"
    assert door.host.run(f"cat {FOLDER}/tokens.caddy", user="student", check=False).returncode != 0
    everything = door.access_log() + door.host.run("journalctl --no-pager").stdout
    everything += door.host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False).stdout
    everything += door.host.run(["cat", f"{FOLDER}/Caddyfile", f"/etc/systemd/system/{UNIT}"]).stdout
    for secret in (ALICE, OPS, WRONG, "hush"):
        assert secret not in everything


DAMAGES = {
    f"file {FOLDER}/Caddyfile": f"sed -i s/403/200/ {FOLDER}/Caddyfile",
    f"file {FOLDER}/tokens.caddy": f"sed -i s/client/admin/ {FOLDER}/tokens.caddy",
    f"file /etc/systemd/system/{UNIT}": f"echo '# mine' >>/etc/systemd/system/{UNIT}",
    "access front door": f"systemctl disable --now {UNIT}",
}


def test_what_is_altered_is_drift_and_comes_back(door: FrontDoor) -> None:
    for command in DAMAGES.values():
        door.host.run(command)
    told = door.fleet.drift()
    assert told.code == 2
    assert told.drifted("door") == set(DAMAGES)
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert door.status("POST", "/api/pull", ALICE, b"{}") == 403

    door.host.run(f"systemctl mask --now --runtime {UNIT}")
    assert door.fleet.drift().drifted("door") == {"access front door"}
    assert door.fleet.apply().code == 0
    assert door.status("GET", "/api/tags", ALICE) == 200
    door.host.run(
        "touch /var/lib/ollama-fleet/access-due"
    )  # a run cut off before the proxy had read its files
    assert door.fleet.drift().drifted("door") == {"access front door"}
    assert door.fleet.apply().code == 0
    assert door.fleet.drift().code == 0


def test_a_certificate_of_ones_own_and_its_successor(door: FrontDoor) -> None:
    served = []
    door.fleet.change(defaults={"access": {"certificate": "door.crt", "key": "file:door.key"}})
    for number in (1, 2):
        make_certificate(door.fleet.path, f"door-{number}")
        applied = door.fleet.apply()
        assert applied.code == 0, str(applied)
        assert "PRIVATE" not in applied.text
        with door.connect() as connection:
            served.append(connection.getpeercert(binary_form=True) or b"")
        assert f"door-{number}" in subject(served[-1])
    door.fleet.change(defaults={"access": {"certificate": None, "key": None}})
    assert door.fleet.apply().code == 0
    assert not door.host.exists(f"{FOLDER}/key.pem")
    authority = door.host.read("/var/lib/ollama-fleet-access/caddy/pki/authorities/local/root.crt")
    context = ssl.create_default_context(cadata=authority)
    for name in (door.host.address, "door"):
        with socket.create_connection((door.host.address, PORT), timeout=10) as plain:
            context.wrap_socket(plain, server_hostname=name).close()


def test_each_instance_has_its_own_path(door: FrontDoor) -> None:
    door.fleet.change(hosts={"door": {"instances": INSTANCES}})
    try:
        applied = door.fleet.apply()
        assert applied.code == 0, str(applied)
        assert {path: path_status(door, *path) for path in BY_INSTANCE} == BY_INSTANCE
        told = door.fleet.run("ollama-fleet", "clients", "openai").stdout
        assert f"OPENAI_BASE_URL=https://{door.host.address}:{PORT}/one/v1" in told
    finally:
        door.fleet.change(hosts={"door": {"instances": None}})
    assert door.fleet.apply().code == 0
    assert door.fleet.drift().code == 0
    assert door.status("GET", "/api/tags", ALICE) == 200


def test_clients_are_told_the_door(door: FrontDoor) -> None:
    told = door.fleet.run("ollama-fleet", "clients", "openai")
    assert f"OPENAI_BASE_URL=https://{door.host.address}:{PORT}/v1" in told.stdout
    assert "OPENAI_API_KEY=<env:ALICE_TOKEN>" in told.stdout
    assert ALICE not in told.text


def test_without_it_the_host_is_as_before(door: FrontDoor) -> None:
    # Where the door was: it has to go first.
    door.fleet.change(defaults={"listen": f"0.0.0.0:{PORT}", "access": None})
    applied = door.fleet.apply()
    assert applied.code == 0, str(applied)
    assert door.fleet.drift().code == 0
    for path in (FOLDER, f"/etc/systemd/system/{UNIT}", "/var/lib/ollama-fleet-access"):
        assert not door.host.exists(path)
    assert door.host.run("getent passwd ollama-access", check=False).returncode != 0
    assert connects(door.lab.office, door.address("office", 4), PORT) == "connected"

    door.fleet.change(defaults={"listen": None, "access": {"tokens": {"alice": "env:ALICE_TOKEN"}}})
    assert door.fleet.apply().code == 0
    assert door.status("GET", "/api/tags", ALICE) == 200
    retired = door.fleet.run("ollama-fleet", "retire", "door", "--yes")
    assert retired.code == 0, str(retired)
    assert "goes: front door" in retired.text
    for path in ("/etc/ollama-fleet", f"/etc/systemd/system/{UNIT}", "/var/lib/ollama-fleet-access"):
        assert not door.host.exists(path)
