"""A host that leaves the fleet is as it was before it came, but for what other people have made since."""

from __future__ import annotations

import json

import pytest

from converge.conftest import MakeFleet, Release
from converge.outside_view import BACKUPS
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host
from lab.snapshot import VOLATILE, Entry

pytestmark = pytest.mark.lab

LOGIN = ("/home/admin/.sudo_as_admin_successful",)
"""What sudo leaves at the first login of an account."""


def tree(host: Host) -> dict[str, Entry]:
    return host.snapshot((*VOLATILE, *BACKUPS, *LOGIN))


def changed(before: dict[str, Entry], after: dict[str, Entry]) -> list[str]:
    return sorted(
        f"{path}: {before.get(path)} / {after.get(path)}"
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    )


@pytest.mark.parametrize("firewall", ["ufw", "nftables"])
def test_as_it_was(
    new_host: BootHost, make_fleet: MakeFleet, lab: Lab, release: Release, firewall: str
) -> None:
    host = new_host(firewall=firewall)  # type: ignore[arg-type]
    by_admin = {"ssh": {"user": "admin"}, "sudo": True} if firewall == "nftables" else {}
    fleet = make_fleet(
        {
            "defaults": {
                "listen": "0.0.0.0:11434",
                "firewall": {"allow_from": lab.cidrs("lan")},
                **({} if firewall == "ufw" else {"models_dir": "/srv/ollama models/m"}),
            },
            "hosts": {host.name: {"address": host.address, "models": ["reasoner"], **by_admin}},
        }
    )
    before, rules = tree(host), host.run("nft list ruleset").stdout
    assert fleet.apply().code == 0
    there = tree(host)

    shown = fleet.run("ollama-fleet", "retire", host.name, "--dry")
    assert shown.code == 0, str(shown)
    for words in (
        f"goes: release {release.version} (",
        "goes: model reasoner:latest (",
        "goes: user and group ollama",
    ):
        assert any(words in line for line in shown.text.splitlines()), str(shown)
    unanswered = fleet.run("ollama-fleet", "retire", host.name)
    assert unanswered.code != 0
    assert "Traceback" not in unanswered.text
    assert changed(there, tree(host)) == []

    done = fleet.run("ollama-fleet", "retire", host.name, "-y")
    assert done.code == 0, str(done)
    assert changed(before, tree(host)) == []
    assert host.run("pgrep -u ollama", check=False).returncode != 0
    assert host.run("systemctl is-failed ollama", check=False).stdout.strip() != "failed"
    if firewall == "nftables":
        assert host.run("nft list ruleset").stdout == rules
    again = fleet.run("ollama-fleet", "retire", host.name, "-y")
    assert again.code == 0
    assert "nothing of ours is there" in again.text


def test_what_others_made_stays_and_models_may(new_host: BootHost, make_fleet: MakeFleet) -> None:
    host = new_host()
    fleet = make_fleet({"hosts": {host.name: {"address": host.address, "models": ["reasoner"]}}})
    assert fleet.apply().code == 0
    own = json.dumps({"model": "mine", "from": "reasoner", "system": "Mine.", "stream": False})
    host.run(["curl", "-gsSf", "-d", own, "http://127.0.0.1:11434/api/create"])
    host.write("/etc/systemd/system/ollama.service.d/mine.conf", "[Service]\nNice=5\n")
    host.run("mkdir -p /opt/ollama/mine")
    models = "/usr/share/ollama/.ollama/models"
    blobs = set(host.run(f"ls {models}/blobs").stdout.split())

    done = fleet.run("ollama-fleet", "retire", host.name, "-y")

    assert done.code == 0, str(done)
    assert f"stays: models in {models}: mine:latest" in done.text
    assert host.exists("/etc/systemd/system/ollama.service.d/mine.conf")
    assert host.exists("/opt/ollama/mine")
    assert host.run(f"find {models}/manifests -type f").stdout.split() == [
        f"{models}/manifests/registry.ollama.ai/library/mine/latest"
    ]
    # What it is made of is whole: only the layers of its own of the other model are gone.
    stored = json.loads(host.read(f"{models}/manifests/registry.ollama.ai/library/mine/latest"))
    needed = {part["digest"].replace(":", "-") for part in (*stored["layers"], stored["config"])}
    assert needed == set(host.run(f"ls {models}/blobs").stdout.split())
    assert needed < blobs
    assert host.run(f"stat -c %U {models}/blobs").stdout.strip() == "root"
    assert host.run("getent passwd ollama", check=False).returncode != 0

    # The host comes back, and finds them again.
    assert fleet.apply().code == 0
    kept = fleet.run("ollama-fleet", "retire", host.name, "-y", "--keep-models")
    assert kept.code == 0, str(kept)
    assert len(host.run(f"find {models}/manifests -type f").stdout.split()) == 3


@pytest.mark.parametrize("without", [[], ["polkitd"]], ids=["systemd", "script"])
def test_account_of_a_user(new_host: BootHost, make_fleet: MakeFleet, without: list[str]) -> None:
    host = new_host(without=without)
    settings = {
        "scope": "user",
        "ssh": {"user": "student"},
        "listen": "127.0.0.1:11500",
        "models": ["reasoner"],
    }
    fleet = make_fleet({"hosts": {host.name: {"address": host.address, **settings}}})
    before = tree(host)
    assert fleet.apply().code == 0

    done = fleet.run("ollama-fleet", "retire", host.name, "-y")

    assert done.code == 0, str(done)
    assert changed(before, tree(host)) == []
    assert host.run(["pgrep", "-f", "bin/ollama serve"], check=False).returncode != 0
    assert not host.exists("/var/lib/systemd/linger/student")
