"""A host on which somebody has installed Ollama already, the way its own script does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from converge.conftest import NEWER, MakeFleet, Release
from converge.outside_view import main_pid, process_environment
from converge.upstream_install import FOREIGN, UNIT, UNTIL_IT_ANSWERS, install
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab


@pytest.fixture
def installed(new_host: BootHost, release: Release) -> Host:
    """A host with an upstream-like installation: regular files below /usr/local, a unit, and an admin's drop-in."""
    if not release.is_stand_in:
        pytest.skip("the archive's name is known for the stand-in only")
    host = new_host(firewall="nftables")
    install(host, release)
    return host


def test_adopted_as_it_is(installed: Host, make_fleet: MakeFleet, lab: Lab, release: Release) -> None:
    name = installed.name
    fleet = make_fleet(
        {
            "defaults": {
                "listen": "0.0.0.0:11434",
                "env": {"OLLAMA_KEEP_ALIVE": -1},
                "firewall": {"allow_from": lab.cidrs("lan")},
            },
            "hosts": {name: {"address": installed.address, "models": ["reasoner"]}},
        }
    )
    binary = installed.run("sha256sum /usr/local/bin/ollama").stdout
    fetched = [entry for entry in lab.registry.requests() if "/files/" in str(entry["path"])]

    dry = fleet.dry()
    assert not any(item.startswith("release") for item in dry.items(name)), str(dry)
    assert "file /etc/systemd/system/ollama.service" not in dry.items(name), str(dry)
    applied = fleet.apply()

    assert applied.code == 0, str(applied)
    assert "Release" in applied.unchanged(name)
    assert installed.read("/etc/systemd/system/ollama.service") == UNIT
    assert installed.run("sha256sum /usr/local/bin/ollama").stdout == binary
    assert installed.run("readlink /usr/local/bin/ollama", check=False).returncode != 0
    assert not installed.exists("/opt/ollama/current")
    assert [entry for entry in lab.registry.requests() if "/files/" in str(entry["path"])] == fetched

    environment = process_environment(installed, main_pid(installed))
    assert environment["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert environment["OLLAMA_KEEP_ALIVE"] == "-1"
    # Somebody else's settings stay where they do not touch ours, and are told.
    assert environment["OLLAMA_NUM_PARALLEL"] == "2"
    assert "OLLAMA_KEEP_ALIVE=5m" in installed.read(FOREIGN)
    (note,) = [line for line in applied.notes(name) if FOREIGN in line]
    assert "OLLAMA_KEEP_ALIVE has no effect" in note

    tags = json.loads(installed.run("curl -sf http://127.0.0.1:11434/api/tags").stdout)
    assert "reasoner:latest" in {model["name"] for model in tags["models"]}
    again = fleet.apply()
    assert again.changed(name) == set(), str(again)
    assert again.code == 0
    assert release.version in installed.run("ollama --version").stdout


def fleet_of(host: Host, lab: Lab, **more: object) -> dict[str, object]:
    return {
        "defaults": {
            "listen": "0.0.0.0:11434",
            "env": {"OLLAMA_KEEP_ALIVE": -1},
            "firewall": {"allow_from": lab.cidrs("lan")},
        },
        "hosts": {host.name: {"address": host.address, "models": ["reasoner"], **more}},
    }


def with_models(host: Host, lab: Lab, base: str) -> dict[str, str]:
    """Models of the time before us: one from the registry, and one made of it."""
    host.run(UNTIL_IT_ANSWERS)
    post(host, "pull", {"model": base, "insecure": True})
    post(host, "create", {"model": "theirs", "from": base, "system": "We were here first."})
    return digests(host)


def post(host: Host, path: str, body: dict[str, object]) -> None:
    data = json.dumps({**body, "stream": False})
    host.run(["curl", "-gsSf", "-m", "60", "-d", data, f"http://127.0.0.1:11434/api/{path}"], timeout=90)


def digests(host: Host) -> dict[str, str]:
    tags = json.loads(host.run("curl -sf http://127.0.0.1:11434/api/tags").stdout)
    return {model["name"]: model["digest"] for model in tags["models"]}


def served(host: Host) -> str:
    version: str = json.loads(host.run("curl -sf http://127.0.0.1:11434/api/version").stdout)["version"]
    return version


def starts(host: Host, unit: str = "ollama") -> int:
    said = host.run(f"journalctl --sync; journalctl --no-pager -o cat -u {unit}").stdout
    return sum(line.startswith("Started ") for line in said.splitlines())


def test_another_version_keeps_models_and_can_go_back(
    installed: Host,
    make_fleet: MakeFleet,
    publish: Callable[..., Release],
    lab: Lab,
    base: str,
    release: Release,
) -> None:
    """The upstream script's layout, taken over at another version, run over by the script again, and given back."""
    host, name = installed, installed.name
    before = with_models(host, lab, base)
    binary = host.run("sha256sum </usr/local/bin/ollama").stdout
    tree = upstream(host)
    newer = publish(NEWER)
    fleet = make_fleet({**fleet_of(host, lab), "release": newer.document})
    count = starts(host)

    dry = fleet.dry()
    told = dry.notes(name)
    assert any("/usr/local/bin/ollama of somebody else (0.24.0) is kept as" in note for note in told), str(
        dry
    )
    assert any("/etc/systemd/system/ollama.service is not ours and stays" in note for note in told), str(dry)
    assert any("not in fleet.yaml, and left: model theirs:latest" in note for note in told), str(dry)
    assert upstream(host) == tree
    applied = fleet.apply()

    assert applied.code == 0, str(applied)
    assert served(host) == NEWER
    assert starts(host) == count + 1
    # Every model of before, with its digest, beside ours.
    assert digests(host).items() > before.items()
    assert host.run("sha256sum </usr/local/bin/ollama.before-fleet").stdout == binary
    assert NEWER in host.run("ollama --version").stdout
    assert release.version in host.run("/usr/local/bin/ollama.before-fleet --version 2>&1").stdout
    assert fleet.apply().changed(name) == set()

    # The upstream script again: other files at the places of ours, and a restart. The host goes on as it was.
    host.write("/etc/systemd/system/ollama.service", UNIT)
    host.run(AGAIN.format(url=f"{release.source}/ollama-linux-amd64.tar.zst"), timeout=60)
    host.run(UNTIL_IT_ANSWERS)
    assert served(host) == NEWER
    assert digests(host).items() > before.items()
    drift = fleet.drift()
    assert drift.code == 2
    changes = drift.document["hosts"][name]["changes"]
    assert {f"{change['kind']} {change['name']}" for change in changes} == {
        f"release {NEWER}",
        "loaded reasoner:latest",
    }
    assert fleet.apply().code == 0
    assert fleet.drift().code == 0
    assert digests(host).items() > before.items()

    gone = fleet.run("ollama-fleet", "retire", name, "-y")
    assert gone.code == 0, str(gone)
    assert "stays: /etc/systemd/system/ollama.service, which is not ours" in gone.text
    host.run(UNTIL_IT_ANSWERS)
    assert served(host) == release.version
    assert upstream(host) == tree
    assert digests(host)["theirs:latest"] == before["theirs:latest"]


def upstream(host: Host) -> dict[str, object]:
    """What the upstream script and the admin have made, and where ours would be."""
    places = (
        "/usr/local",
        "/etc/systemd/system/ollama",
        "/opt",
        "/etc/ollama",
        "/etc/profile.d",
        "/var/lib/ollama",
    )
    return {path: entry for path, entry in host.snapshot().items() if path.startswith(places)}


AGAIN = """
set -e
rm -rf /usr/local/lib/ollama
curl -fsS {url} | zstd -d | tar -xf - -C /usr/local --no-same-owner
systemctl daemon-reload
systemctl enable --quiet ollama
systemctl restart ollama
"""


def test_script_run_over_what_we_made(
    new_host: BootHost, make_fleet: MakeFleet, lab: Lab, release: Release
) -> None:
    host = new_host()
    fleet = make_fleet(fleet_of(host, lab))
    assert fleet.apply().code == 0
    ours = digests(host)
    host.write("/etc/systemd/system/ollama.service", UNIT)
    host.run(AGAIN.format(url=f"{release.source}/ollama-linux-amd64.tar.zst"), timeout=60)
    host.run(UNTIL_IT_ANSWERS)
    assert digests(host) == ours
    assert process_environment(host, main_pid(host))["OLLAMA_KEEP_ALIVE"] == "-1"

    items = fleet.dry().items(host.name)
    expected = {"file /etc/systemd/system/ollama.service", f"release {release.version}", "service ollama"}
    assert items >= {"file /etc/systemd/system/ollama.service", f"release {release.version}"}
    assert items <= expected | {"loaded reasoner:latest"}
    assert fleet.apply().code == 0
    assert "Written by ollama-fleet" in host.read("/etc/systemd/system/ollama.service")
    assert fleet.drift().code == 0


def test_hand_made_unit_on_the_same_port(
    new_host: BootHost, make_fleet: MakeFleet, lab: Lab, base: str, release: Release
) -> None:
    """A unit of another name, run by root, with its models at a place of its own."""
    host = new_host()
    host.run(
        f"curl -fsS {release.source}/ollama-linux-amd64.tar.zst | zstd -d | tar -xf - -C /usr --no-same-owner",
        timeout=60,
    )
    host.write("/etc/systemd/system/llm.service", HAND_MADE.format(port=11434, store="/data/models"))
    host.write("/etc/systemd/system/llm-two.service", HAND_MADE.format(port=11500, store="/data/two"))
    host.run("systemctl daemon-reload; systemctl enable --quiet --now llm llm-two")
    before = with_models(host, lab, base)
    fleet = make_fleet(fleet_of(host, lab))

    dry = fleet.dry()
    told = " ".join(dry.notes(host.name))
    assert "llm.service runs another Ollama on the same port: it is stopped and disabled" in told
    assert "llm-two.service runs another Ollama, on port 11500; it is left alone" in told
    assert "2 models (" in told
    assert "write models_dir: /data/models" in told
    # As they are told: now they are to be served.
    fleet.change(defaults={"models_dir": "/data/models"})
    assert "write models_dir: /data/models" not in fleet.dry().text
    applied = fleet.apply()

    assert applied.code == 0, str(applied)
    assert digests(host).items() > before.items()
    assert host.run("systemctl is-active llm llm-two", check=False).stdout.split() == ["inactive", "active"]
    assert host.run("systemctl is-enabled llm llm-two", check=False).stdout.split() == ["disabled", "enabled"]
    assert process_environment(host, main_pid(host))["OLLAMA_MODELS"] == "/data/models"
    assert fleet.apply().changed(host.name) == set()


HAND_MADE = """\
[Unit]
Description=Ollama by hand

[Service]
ExecStart=/usr/bin/ollama serve
Environment=OLLAMA_HOST=0.0.0.0:{port} OLLAMA_MODELS={store} HOME=/root
Restart=always

[Install]
WantedBy=multi-user.target
"""
