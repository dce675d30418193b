"""What goes wrong on one host stays there, and what is wrong in a file is told with its place."""

from __future__ import annotations

import pytest

from converge.conftest import MakeFleet, Rack
from converge.fleet_directory import FleetDirectory, merged
from converge.outside_view import main_pid, written
from lab import Lab
from lab.fixtures import BootHost

pytestmark = pytest.mark.lab

PYINFRAS_OWN = ("Connected", "Ready: deploy.py", "sudo password:")
"""What pyinfra says of a host by itself."""
LOCAL_HOST = {"hosts": {"here": {"address": "127.0.0.1"}}}


def test_hosts_that_fail_leave_the_others_alone(rack: Rack, lab: Lab, new_host: BootHost, base: str) -> None:
    nobody = lab.lan_cidrs[0].replace("0/24", "250")
    spares = [new_host() for _ in range(3)]
    document = merged(
        rack.fleet.document,
        {
            "models": {
                "unlocked": {"from": base.replace("tiny", "never-locked"), "num_ctx": 512, "num_gpu": 0}
            },
            "hosts": {
                "away": {"address": nobody, "models": ["reasoner"]},
                "no-sudo": {"address": spares[0].address, "ssh": {"user": "student"}, "sudo": True},
                "no-root": {"address": spares[1].address, "ssh": {"user": "student"}},
                "no-lock": {"address": spares[2].address, "models": ["unlocked"]},
            },
        },
    )
    fleet = FleetDirectory.new(rack.fleet.path.parent / "with-failures", document)
    before = [written(spare) for spare in spares]
    (fleet.path / "fleet.lock").write_text((rack.fleet.path / "fleet.lock").read_text())
    for host in rack.hosts:
        host.run("systemctl stop ollama")

    run = fleet.pyinfra("-y")

    assert run.code == 1, str(run)
    for host in rack.hosts:
        assert any(line.startswith("Ollama ") for line in run.told(host.name)), str(run)
        assert main_pid(host) > 0
    reasons = {name: run.told(name) for name in ("away", "no-sudo", "no-root", "no-lock")}
    assert any("Could not connect" in line for line in reasons["away"]), str(run)
    assert any("password" in line for line in reasons["no-sudo"]), str(run)
    assert any("sudo: true" in line for line in reasons["no-root"]), str(run)
    assert any("never-locked" in line and "ollama-fleet lock" in line for line in reasons["no-lock"]), str(
        run
    )
    # Besides what pyinfra says of every host, one line.
    for name, lines in reasons.items():
        assert len([line for line in lines if line not in PYINFRAS_OWN]) == 1, f"{name}: {lines}"
    assert "Traceback" not in run.text
    assert [written(spare) for spare in spares] == before

    seen = fleet.drift()
    assert seen.code == 1, str(seen)
    hosts = seen.document["hosts"]
    assert {name for name, found in hosts.items() if found["error"]} == set(reasons)
    assert all(hosts[host.name]["changes"] == [] for host in rack.hosts)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"models": {"reasoner": {"num_gpus": 3}}}, 'did you mean "num_gpu"'),
        ({"defaults": {"listen": "0.0.0.0:11434"}}, "allow_from"),
        ({"hosts": {"here": {"models": ["raesoner"]}}}, "reasoner"),
        ({"release": {"version": "latest"}}, "version"),
    ],
    ids=["unknown key", "open to everybody", "unknown model", "no version"],
)
def test_wrong_fleet_file(wrong: dict[str, object], said: str, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(merged(LOCAL_HOST, wrong), locked=False)
    for command in (("pyinfra", "-y", "inventory/hosts.py", "deploy.py"), ("ollama-fleet", "validate")):
        run = fleet.run(*command)
        assert run.code == 1, str(run)
        (line,) = [line for line in run.text.splitlines() if "fleet.yaml:" in line]
        assert said in line, str(run)
        assert line.split("fleet.yaml:")[1].split(":")[0].isdigit()
        assert "Traceback" not in run.text, str(run)


def test_peer_that_is_no_ssh_server(rack: Rack, lab: Lab) -> None:
    document = merged(
        rack.fleet.document, {"hosts": {"web": {"address": lab.registry.address, "ssh": {"port": 5000}}}}
    )
    fleet = FleetDirectory.new(rack.fleet.path.parent / "no-ssh", document)
    (fleet.path / "fleet.lock").write_text((rack.fleet.path / "fleet.lock").read_text())
    run = fleet.pyinfra("-y")
    assert run.code == 1, str(run)
    assert len(run.told("web")) == 1, str(run)
    assert "Traceback" not in run.text, str(run)
    assert all(run.told(host.name).count("No changes") == 10 for host in rack.hosts), str(run)


def test_all_mistakes_are_told_at_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(
        {"hosts": {"here": {"addres": "127.0.0.1", "scope": "sistem"}}, "prune": "maybe"}, locked=False
    )
    run = fleet.pyinfra("-y")
    assert run.code == 1
    for word in ("addres", "sistem", "maybe"):
        assert word in run.text, str(run)


def test_lock_is_missing(rack: Rack) -> None:
    fleet = FleetDirectory.new(rack.fleet.path.parent / "no-lock", rack.fleet.document)
    run = fleet.pyinfra("-y")
    assert run.code == 1, str(run)
    assert "ollama-fleet lock" in run.text, str(run)
    assert "Traceback" not in run.text, str(run)


def test_key_that_is_not_there(rack: Rack) -> None:
    fleet = FleetDirectory.new(
        rack.fleet.path.parent / "no-key",
        merged(rack.fleet.document, {"defaults": {"ssh": {"key": "/no/such/key"}}}),
    )
    (fleet.path / "fleet.lock").write_text((rack.fleet.path / "fleet.lock").read_text())
    for command in (("pyinfra", "-y", "inventory/hosts.py", "deploy.py"), ("ollama-fleet", "drift")):
        run = fleet.run(*command)
        assert run.code == 1, str(run)
        (line,) = [line for line in run.text.splitlines() if "/no/such/key" in line]
        assert "defaults.ssh.key" in line, str(run)
        assert "Traceback" not in run.text, str(run)


def test_no_fleet_file(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(LOCAL_HOST, locked=False)
    (fleet.path / "fleet.yaml").unlink()
    for command in (("pyinfra", "-y", "inventory/hosts.py", "deploy.py"), ("ollama-fleet", "validate")):
        run = fleet.run(*command)
        assert run.code == 1, str(run)
        assert "fleet.yaml" in run.text
        assert "Traceback" not in run.text, str(run)
