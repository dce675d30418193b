"""Another version in fleet.yaml, archives of both kinds, and archives that are not what was locked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator

import pytest

from converge.conftest import NEWER, VERSION, MakeFleet, Rack, Release
from converge.drifts import ENVIRONMENT, MODELS, SERVICE
from converge.outside_view import ask
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

WITH_TGZ = "0.13.5"
"""The last version whose archives need no zstd."""


def starts(host: Host) -> int:
    """How often systemd has started the server since boot."""
    said = host.run("journalctl --sync; journalctl --no-pager -o cat -u ollama.service").stdout
    return sum(line.startswith(("Started ollama", "Started Ollama")) for line in said.splitlines())


def link(host: Host, name: str) -> str:
    return host.run(["readlink", f"/opt/ollama/{name}"]).stdout.strip()


def models(host: Host) -> str:
    """Everything below the models directory, with times."""
    return host.run(f"find {shlex.quote(MODELS)} -type f -printf '%P %s %T@\\n' | sort").stdout


@pytest.fixture
def at_first_release(rack: Rack, release: Release) -> Iterator[None]:
    if not release.is_stand_in:
        pytest.skip("there is only one real release to hand")
    yield
    rack.fleet.change(release=release.document)
    rack.fleet.lock()
    restored = rack.fleet.apply()
    assert restored.code == 0, str(restored)


@pytest.mark.usefixtures("at_first_release")
def test_upgrade_and_back(rack: Rack, publish: Callable[..., Release], release: Release, lab: Lab) -> None:
    rack.fleet.change(release=publish(NEWER).document)
    rack.fleet.lock()
    before = {host.name: (starts(host), models(host)) for host in rack.hosts}

    dry = rack.fleet.dry()
    for host in rack.hosts:
        assert dry.items(host.name) == {f"release {NEWER}", f"file {ENVIRONMENT}", SERVICE}, str(dry)
        assert dry.tells_restart(host.name), str(dry)
    applied = rack.fleet.apply()

    assert applied.code == 0, str(applied)
    for host in rack.hosts:
        assert (link(host, "current"), link(host, "previous")) == (NEWER, VERSION)
        assert host.exists(f"/opt/ollama/{VERSION}/bin/ollama")
        assert json.loads(ask(lab.office, host.office_address(), "/api/version")) == {"version": NEWER}
        count, stored = before[host.name]
        assert starts(host) == count + 1
        assert models(host) == stored
        loaded = json.loads(ask(lab.office, host.office_address(), "/api/ps"))["models"]
        assert [model["name"] for model in loaded] == ["reasoner:latest"]

    fetched = len(lab.registry.requests())
    rack.fleet.change(release=release.document)
    rack.fleet.lock()
    asked_for_lock = len(lab.registry.requests())
    assert asked_for_lock > fetched
    back = rack.fleet.apply()

    assert back.code == 0, str(back)
    for host in rack.hosts:
        assert (link(host, "current"), link(host, "previous")) == (VERSION, NEWER)
        assert starts(host) == before[host.name][0] + 2
    # The version before was kept, so nothing is fetched again.
    assert len(lab.registry.requests()) == asked_for_lock


def test_archive_that_is_not_the_locked_one(
    new_host: BootHost, lab: Lab, publish: Callable[..., Release], make_fleet: MakeFleet
) -> None:
    host = new_host(without=["zstd"])
    served = publish(WITH_TGZ, "tgz", folder="tampered")
    fleet = make_fleet(
        {
            "release": served.document,
            "models": {"reasoner": {"preload": False}},
            "hosts": {host.name: {"address": host.address, "models": ["reasoner"]}},
        }
    )
    archive = lab.registry.files / "tampered/ollama-linux-amd64.tgz"
    right = archive.read_bytes()
    archive.write_bytes(right + b"more")

    for download, said in (("host", "does not have the locked sha256"), ("controller", "locked is")):
        fleet.change(release={"download": download})
        failed = fleet.pyinfra("-y")
        assert failed.code == 1, str(failed)
        complaints = [line for line in failed.told(host.name) if said in line]
        assert len(complaints) == 1, str(failed)
        assert "Traceback" not in failed.text
        # Neither installed nor half installed.
        assert host.run("find /opt/ollama -name ollama -type f").stdout == ""
        assert not host.exists("/usr/local/bin/ollama")
        assert host.run("find / -xdev -name '*.tgz*'").stdout == ""

    archive.write_bytes(right)
    for download in ("controller", "host"):
        fleet.change(release={"download": download})
        applied = fleet.apply()
        assert applied.code == 0, str(applied)
        assert link(host, "current") == WITH_TGZ
        host.run("rm -r /opt/ollama")


def test_host_without_zstd_gets_it(new_host: BootHost, make_fleet: MakeFleet, release: Release) -> None:
    host = new_host(without=["zstd"])
    assert host.run("command -v zstd", check=False).returncode != 0
    fleet = make_fleet({"hosts": {host.name: {"address": host.address, "models": ["reasoner"]}}})
    applied = fleet.apply()
    assert applied.code == 0, str(applied)
    assert link(host, "current") == release.version
    assert fleet.drift().code == 0
