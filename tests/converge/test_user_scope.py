"""Without root: everything in the account's home, with a systemd of its own or without."""

from __future__ import annotations

import json

import pytest

from converge.conftest import MakeFleet, Release
from converge.fleet_directory import FleetDirectory
from converge.outside_view import process_environment
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

HOME = "/home/student"
DENY_LINGERING = """\
polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.freedesktop.login1.set-") == 0) { return polkit.Result.NO; }
});
"""


def user_fleet(host: Host, **more: object) -> dict[str, object]:
    settings = {
        "address": host.address,
        "scope": "user",
        "ssh": {"user": "student"},
        "listen": "127.0.0.1:11500",
        "env": {"OLLAMA_KEEP_ALIVE": -1},
        "models": ["reasoner"],
        **more,
    }
    return {"hosts": {host.name: settings}}


def ask(host: Host, path: str) -> str:
    return host.run(f"curl -gsSf -m 10 http://127.0.0.1:11500{path}").stdout


def outside_home(host: Host) -> set[str]:
    """What there is on the host's disk besides the account's home."""
    return {path for path in host.snapshot() if not path.startswith(HOME)}


def verified(fleet: FleetDirectory, host: Host) -> None:
    """Verify finds nothing wrong, and reads the log without root."""
    run = fleet.run("ollama-fleet", "verify", "--json", "--depth", "full")
    assert run.code == 0, str(run)
    there = run.document["hosts"][host.name]
    assert there["remarks"] == []
    (row,) = there["placements"]["reasoner:latest"]["memory"]
    assert row["measured"]["weights"] > 0


@pytest.fixture
def host(new_host: BootHost) -> Host:
    return new_host(firewall="nftables")


def test_with_a_systemd_of_its_own(host: Host, make_fleet: MakeFleet, release: Release) -> None:
    before = outside_home(host)
    fleet = make_fleet(user_fleet(host))
    applied = fleet.apply()

    assert applied.code == 0, str(applied)
    assert json.loads(ask(host, "/api/version")) == {"version": release.version}
    shown = host.run(
        ["systemctl", "--user", "show", "ollama", "-p", "ActiveState,UnitFileState,MainPID"], user="student"
    )
    unit = dict(line.split("=") for line in shown.stdout.splitlines())
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
    environment = process_environment(host, int(unit["MainPID"]))
    assert environment["OLLAMA_HOST"] == "127.0.0.1:11500"
    assert environment["OLLAMA_MODELS"] == f"{HOME}/.ollama/models"
    assert environment["OLLAMA_KEEP_ALIVE"] == "-1"
    owner = host.run(["stat", "-c", "%U", f"/proc/{unit['MainPID']}"]).stdout.strip()
    assert owner == "student"
    assert host.run("loginctl show-user student -p Linger --value").stdout.strip() == "yes"
    assert outside_home(host) == before
    listed = host.run(["bash", "-lc", "ollama list"], user="student").stdout
    assert "reasoner:latest" in listed

    # The account may read its own log only where the journal is kept on disk, or as a member of this group.
    host.run("usermod -aG systemd-journal student")
    verified(fleet, host)

    mark = host.mark()
    again = fleet.apply()
    assert again.code == 0, str(again)
    assert again.changed(host.name) == set(), str(again)
    assert host.ssh_sessions(since=mark) == ["exec"]

    host.run("rm ~/.config/systemd/user/ollama.service.d/zz-fleet.conf", user="student")
    drifted = fleet.dry()
    assert drifted.items(host.name) >= {f"file {HOME}/.config/systemd/user/ollama.service.d/zz-fleet.conf"}
    assert fleet.apply().code == 0
    host.reboot()
    # A reboot empties the memory, and nobody has asked for the model since.
    assert fleet.dry().items(host.name) <= {"loaded reasoner:latest"}
    assert ask(host, "/") == "Ollama is running"


def test_lingering_refused(host: Host, make_fleet: MakeFleet) -> None:
    host.write("/etc/polkit-1/rules.d/00-deny.rules", DENY_LINGERING)
    fleet = make_fleet(user_fleet(host))
    run = fleet.pyinfra("-y")
    assert run.code == 1, str(run)
    (line,) = [line for line in run.told(host.name) if "lingering is refused" in line]
    assert "loginctl enable-linger" in line
    assert "Traceback" not in run.text

    host.run("loginctl enable-linger student")
    assert fleet.apply().code == 0


def test_without_systemd_for_the_account(new_host: BootHost, make_fleet: MakeFleet) -> None:
    # No polkit, so nobody who could grant lingering: a systemd of the account's would end with its login.
    host = new_host(without=["polkitd"])
    fleet = make_fleet(user_fleet(host))
    before = outside_home(host)
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    assert any("does not survive a reboot" in note for note in applied.notes(host.name)), str(applied)
    pid = int(host.read(f"{HOME}/.local/state/ollama-fleet/server.pid"))
    assert process_environment(host, pid)["OLLAMA_HOST"] == "127.0.0.1:11500"
    assert ask(host, "/") == "Ollama is running"
    assert outside_home(host) == before
    assert fleet.apply().changed(host.name) == set()
    verified(fleet, host)

    # The server is started again when it dies, and told as drift when its keeper does.
    host.run(f"kill -9 {pid}")
    host.run("for i in $(seq 100); do curl -sf http://127.0.0.1:11500/ && exit; sleep 0.1; done; exit 1")
    host.run(
        f"kill -9 $(cat {HOME}/.local/state/ollama-fleet/supervisor.pid {HOME}/.local/state/ollama-fleet/server.pid)"
    )
    assert fleet.dry().items(host.name) == {"service ollama"}
    assert fleet.apply().code == 0
    assert ask(host, "/") == "Ollama is running"


def test_firewall_is_told_not_tried(host: Host, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(user_fleet(host, listen="0.0.0.0:11500", firewall={"allow_from": ["10.0.0.0/8"]}))
    rules = host.run("nft list ruleset").stdout
    dry = fleet.dry()
    assert dry.code == 0, str(dry)
    assert any("no firewall is touched" in note for note in dry.notes(host.name)), str(dry)
    assert not any(item.startswith(("firewall", "account")) for item in dry.items(host.name))
    applied = fleet.apply()
    # Nobody opened the port, and the account may not: the proof says so instead of pretending.
    assert applied.code == 1, str(applied)
    assert any("does not answer from here" in line for line in applied.told(host.name)), str(applied)
    assert host.run("nft list ruleset").stdout == rules
