"""What applies leave about themselves on a host, and `ollama-fleet history` that reads it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from converge.conftest import MakeFleet, Release
from converge.fleet_directory import FleetDirectory
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

HISTORY = "/var/lib/ollama-fleet/history"
SECRET = "hf_Tq7WmNotForAnybody"


@pytest.fixture
def host(new_host: BootHost) -> Host:
    return new_host()


def git(fleet: FleetDirectory, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=fleet.path, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def records(fleet: FleetDirectory, host: Host, *options: str) -> list[dict[str, Any]]:
    run = fleet.run("ollama-fleet", "history", "--json", *options)
    assert run.code == 0, str(run)
    (answer,) = [run.document["hosts"][host.name]]
    assert answer["error"] is None
    found: list[dict[str, Any]] = answer["records"]
    return found


def kill_in_the_middle(fleet: FleetDirectory, host: Host) -> None:
    """Begin an apply, and kill it once the host has a record of its beginning."""
    command = [str(fleet.commands / "pyinfra"), "-y", "inventory/hosts.py", "deploy.py"]
    apply = subprocess.Popen(
        command,
        cwd=fleet.path,
        env=fleet.environment_of_run(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    there = host.root / HISTORY.lstrip("/")
    while apply.poll() is None and not (there.is_dir() and list(there.glob("*.json"))):
        time.sleep(0.02)
    assert apply.poll() is None
    os.killpg(apply.pid, signal.SIGKILL)
    apply.wait()


def test_every_apply_that_did_something(host: Host, make_fleet: MakeFleet, release: Release) -> None:
    fleet = make_fleet({"hosts": {host.name: {"address": host.address, "models": ["reasoner"]}}})
    assert records(fleet, host) == []
    (fleet.path / "token").write_text(SECRET)
    fleet.change(defaults={"env": {"HF_TOKEN": "file:token"}})
    git(fleet, "init", "--quiet")
    git(fleet, "add", "fleet.yaml", "fleet.lock", "deploy.py", "inventory", "token")
    git(fleet, "commit", "--quiet", "-m", "begin")

    kill_in_the_middle(fleet, host)
    (cut,) = records(fleet, host)
    assert (cut["outcome"], cut["ended"]) == ("interrupted", None)

    assert fleet.apply().code == 0
    mark = host.mark()
    done = records(fleet, host)[-1]
    assert host.ssh_sessions(since=mark) == ["exec"]
    assert (done["outcome"], done["reason"], done["release"]) == ("ok", None, release.version)
    assert done["commit"] == git(fleet, "rev-parse", "HEAD")
    assert done["fleet_sha256"] == hashlib.sha256((fleet.path / "fleet.yaml").read_bytes()).hexdigest()
    assert done["lock_sha256"] == hashlib.sha256((fleet.path / "fleet.lock").read_bytes()).hexdigest()
    assert "@" in done["who"]
    assert {"kind": "model", "name": "reasoner:latest", "aspects": ["model"]} in done["changes"]
    assert done["started"] <= done["ended"]

    assert fleet.apply().code == 0
    assert len(records(fleet, host)) == 2

    # The newest hundred stay; one that failed says at which step and why.
    host.run(f"cd {HISTORY} && for i in $(seq 100 219); do echo x >20000101T000000Z-$i.json; done")
    host.write("/srv/file", "in the way\n")
    fleet.change(defaults={"models_dir": "/srv/file/models"})
    failed = fleet.apply()
    assert failed.code == 1, str(failed)
    assert int(host.run(f"ls {HISTORY} | wc -l").stdout) == 100, str(failed)
    (last,) = records(fleet, host, "-n", "1")
    assert last["outcome"] == "failed"
    assert last["reason"].startswith("Directories: ")
    assert "/srv/file" in last["reason"]
    assert last["dirty"] is True

    said = fleet.run("ollama-fleet", "history", "-n", "1", host.name)
    assert said.code == 0
    assert " failed, by " in said.text
    assert ", changed since, release" in said.text
    everything = host.run(f"cat {HISTORY}/*").stdout
    assert SECRET not in everything + json.dumps(records(fleet, host))
    mine = host.run(f"cd {HISTORY} && ls | grep -v ^2000").stdout.split()
    assert {host.run(["stat", "-c", "%a", f"{HISTORY}/{name}"]).stdout.strip() for name in mine} == {"600"}
    assert host.run(f"stat -c %a {HISTORY}").stdout.strip() == "700"

    host.shutdown()
    away = fleet.run("ollama-fleet", "history", "--json")
    assert away.code == 1
    assert away.document["hosts"][host.name]["error"] == "no connection"
