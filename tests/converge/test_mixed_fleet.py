"""Linux hosts and a Windows host in one run of the literal command, one of them switched off."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from converge.conftest import MODEL, VERSION, MakeFleet
from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.host import Host
from windows.fixtures import require_wine
from windows.host import WindowsHost

pytestmark = pytest.mark.lab

SECRET = "hf_ForTheRackAndTheDesk"
LITERAL = ("inventory/hosts.py", "deploy.py")


@dataclass(frozen=True)
class Mixed:
    """A fleet of three."""

    fleet: FleetDirectory
    rack: Host
    away: Host
    """Switched off."""
    desk: WindowsHost


@pytest.fixture(scope="module")
def mixed(
    lab: Lab,
    make_fleet: MakeFleet,
    base: str,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mixed]:
    require_wine(pytestconfig)
    rack, away = lab.hosts(["rack-1", "rack-2"])
    away.shutdown()
    namespace, address = lab.machine("desk-1")
    inside = ("ip", "netns", "exec", namespace)
    desk = WindowsHost.start(tmp_path_factory.mktemp("desk"), address=address, key=lab.key, before=inside)
    known = tmp_path_factory.mktemp("known") / "known_hosts"
    known.write_text(lab.known_hosts.read_text() + desk.known_hosts)
    # A registry with a port cannot serve Windows hosts; this one is on port 80 too.
    registry = lab.registry.address
    fleet = make_fleet(
        {
            "registries": {registry: {"insecure": True}},
            "defaults": {
                "ssh": {"known_hosts": str(known)},
                "listen": "0.0.0.0:11434",
                "firewall": {"allow_from": lab.cidrs("lan")},
                "env": {"HF_TOKEN": "env:TOKEN_OF_THE_FLEET"},
            },
            "models": {"reasoner": {"from": f"{registry}/{MODEL}:latest"}},
            "hosts": {
                "rack-1": {"address": rack.address, "models": ["reasoner"]},
                "rack-2": {"address": away.address, "models": ["reasoner"]},
                "desk-1": {
                    "os": "windows",
                    "address": address,
                    "ssh": {"user": desk.user, "port": desk.port},
                    "models_dir": "D:\\Models",
                    "models": ["reasoner"],
                },
            },
        }
    )
    fleet.environment["TOKEN_OF_THE_FLEET"] = SECRET
    yield Mixed(fleet, rack, away, desk)
    desk.remove()
    for host in (rack, away):
        lab.remove(host)


def literal(fleet: FleetDirectory) -> subprocess.CompletedProcess[str]:
    """`pyinfra inventory/hosts.py deploy.py` by somebody who presses Enter at each of its questions."""
    return subprocess.run(
        [str(fleet.commands / "pyinfra"), *LITERAL],
        cwd=fleet.path,
        env=fleet.environment_of_run(),
        input="\n" * 5,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def ask(address: str, path: str) -> dict[str, Any]:
    """What the server at an address answers this machine, past any proxy."""
    connection = http.client.HTTPConnection(address, 11434, timeout=10)
    try:
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def test_all_but_the_one_that_is_away(mixed: Mixed) -> None:
    first = literal(mixed.fleet)

    said = first.stderr + first.stdout
    assert mixed.desk.missing() == [], said
    assert first.returncode == 1, said
    assert said.count("[rack-2] Could not connect") == 1, said
    assert "Traceback" not in said
    for address in (mixed.rack.address, mixed.desk.address):
        assert ask(address, "/api/version") == {"version": VERSION}, said
        models = ask(address, "/api/tags")["models"]
        assert "reasoner:latest" in {model["name"] for model in models}
    script = mixed.desk.path("C:\\Program Files\\ollama-fleet\\state\\serve.ps1")
    assert SECRET in script.read_text()
    assert SECRET not in said + (mixed.desk.folder / "log").read_text()

    mark, rack = mixed.desk.mark(), mixed.rack.mark()
    second = mixed.fleet.apply()
    assert second.code == 1, str(second)
    for name in ("rack-1", "desk-1"):
        assert second.changed(name) == set(), str(second)
        assert any(line.startswith("Ollama ") for line in second.told(name)), str(second)
    assert len(mixed.desk.commands(mark)) == 1
    assert mixed.rack.ssh_sessions(since=rack) == ["exec"]


def test_drift_names_the_host_that_cannot_be_read(mixed: Mixed) -> None:
    seen = mixed.fleet.drift()
    assert seen.code == 1, str(seen)
    found = seen.document["hosts"]
    assert {name: (bool(host["error"]), host["changes"]) for name, host in found.items()} == {
        "rack-1": (False, []),
        "rack-2": (True, []),
        "desk-1": (False, []),
    }


def test_the_host_that_comes_back_is_caught_up(mixed: Mixed) -> None:
    mixed.away.start()
    run = mixed.fleet.apply()
    assert run.code == 0, str(run)
    assert run.changed("desk-1") == run.changed("rack-1") == set(), str(run)
    assert ask(mixed.away.address, "/api/version") == {"version": VERSION}
    assert mixed.fleet.drift().code == 0
