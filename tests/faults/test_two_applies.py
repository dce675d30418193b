"""Two applies at once: the second is turned away at once and told who is there; the lock dies with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from converge.fleet_directory import FleetDirectory
from faults.conftest import MakeFleet, Shelf, renew
from faults.outside import manifests
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab

LOCK = "/run/ollama-fleet.lock"


@contextmanager
def apply_under_way(fleet: FleetDirectory) -> Iterator[subprocess.Popen[bytes]]:
    """An apply in a process group of its own, dead at the end if it was not before."""
    with (fleet.path / "first.log").open("wb") as log:
        process = subprocess.Popen(
            [str(fleet.commands / "pyinfra"), "-y", "inventory/hosts.py", "deploy.py"],
            cwd=fleet.path,
            env=fleet.environment_of_run(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that must come; fails after so long."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def holds(host: Host) -> bool:
    return bool(host.exists(LOCK) and host.read(LOCK))


def is_pulling(host: Host) -> bool:
    return (
        host.run("find /srv/ollama/models/blobs -name '*-partial' | grep -q .", check=False).returncode == 0
    )


def test_two_applies(lab: Lab, shelf: Shelf, make_fleet: MakeFleet, new_host: BootHost) -> None:
    host, other = new_host(), new_host()
    fleet = make_fleet(
        {"here": host, "there": other}, {"hosts": {"there": {"ssh": {"user": "admin"}, "sudo": True}}}
    )
    fleet.apply()
    renew(fleet, shelf)
    lab.registry.set_faults(bytes_per_second=150_000)
    with apply_under_way(fleet) as first:
        for at in (host, other):
            until(lambda at=at: is_pulling(at))  # type: ignore[misc]
        begin = time.monotonic()
        second = fleet.apply("--limit", "here")
        assert second.code == 1, str(second)
        both = fleet.pyinfra("-y")
        assert both.code == 1, str(both)
        for at in ("here", "there"):
            (line,) = [line for line in both.told(at) if "another apply is at work here" in line]
            assert f"process {first.pid}," in line
            assert line.startswith("lock: ")
        # A hundred times faster than waiting for the first would be; no clock is asked for more.
        assert first.poll() is None
        assert time.monotonic() - begin < 60
        # A look takes no lock, and is not turned away.
        assert fleet.drift().code == 2
        assert fleet.dry().code == 0
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    lab.registry.set_faults()
    third = fleet.apply()
    assert third.code == 0, str(third)
    assert all(len(manifests(at)) == 4 for at in (host, other))
    assert fleet.drift().code == 0


def test_one_of_two_hosts_is_locked(make_fleet: MakeFleet, shelf: Shelf, new_host: BootHost) -> None:
    host, other = new_host(), new_host()
    fleet = make_fleet({"here": host, "there": other})
    with subprocess.Popen(
        [*host.ssh_command(), f"exec 9>>{LOCK}; flock 9; echo somebody >{LOCK}; echo ready; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        run = fleet.apply()
        assert run.code == 1
        assert run.failed("here") >= {"Lock"}
        assert run.failed("there") == set(), str(run)
        assert "lock: another apply is at work here: somebody; wait until it has ended" in run.told("here")
        assert not host.exists("/opt/ollama")
        holder.communicate()
    assert fleet.apply().code == 0
