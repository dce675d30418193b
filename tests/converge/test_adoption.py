"""A host on which somebody has installed Ollama already, the way its own script does."""

from __future__ import annotations

import json

import pytest

from converge.conftest import MakeFleet, Release
from converge.outside_view import main_pid, process_environment
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

UNIT = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

[Install]
WantedBy=default.target
"""
FOREIGN = "/etc/systemd/system/ollama.service.d/override.conf"
INSTALL = """
set -e
curl -fsS {url} -o /tmp/release
tar --zstd -xf /tmp/release -C /usr/local --no-same-owner
useradd -r -s /bin/false -U -m -d /usr/share/ollama ollama
usermod -a -G video ollama
mkdir -p "$(dirname {foreign})"
printf '[Service]\\nEnvironment=OLLAMA_KEEP_ALIVE=5m OLLAMA_NUM_PARALLEL=2\\n' >{foreign}
systemctl daemon-reload
systemctl enable --quiet ollama
systemctl start ollama
"""


@pytest.fixture
def installed(new_host: BootHost, release: Release) -> Host:
    """A host with an upstream-like installation: regular files below /usr/local, a unit, and an admin's drop-in."""
    if not release.is_stand_in:
        pytest.skip("the archive's name is known for the stand-in only")
    host = new_host(firewall="nftables")
    host.write("/etc/systemd/system/ollama.service", UNIT)
    host.run(INSTALL.format(url=f"{release.source}/ollama-linux-amd64.tar.zst", foreign=FOREIGN), timeout=60)
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
