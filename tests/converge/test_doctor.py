"""What stands in the way of an apply is found before it is tried: several things broken at once, on several hosts."""

from __future__ import annotations

import pytest

from converge.command_runs import Run
from converge.conftest import MakeFleet, Rack
from lab import Lab

pytestmark = pytest.mark.lab


def found(run: Run, host: str, check: str) -> list[tuple[str, str, str | None]]:
    """Status, words and remedy of one check on one host."""
    return [
        (one["status"], one["found"], one["remedy"])
        for one in run.document["hosts"][host]["checks"]
        if one["check"] == check
    ]


def not_ok(run: Run, host: str, check: str) -> list[tuple[str, str, str | None]]:
    return [one for one in found(run, host, check) if one[0] != "ok"]


def test_a_converged_host_is_healthy_and_costs_one_command(rack: Rack) -> None:
    marks = [host.mark() for host in rack.hosts]

    run = rack.fleet.run("ollama-fleet", "doctor", "--json")

    assert run.code == 0, str(run)
    for host, mark in zip(rack.hosts, marks, strict=True):
        told = run.document["hosts"][host.name]
        assert {one["status"] for one in told["checks"]} <= {"ok", "warning"}, told
        assert host.ssh_sessions(since=mark) == ["exec"]
    assert found(run, "gpu-01", "port") == [("ok", "11434 is our own", None)]
    assert found(run, "gpu-02", "rights") == [("ok", "admin, by sudo", None)]


def test_what_is_broken_is_told_with_its_remedy(lab: Lab, make_fleet: MakeFleet) -> None:
    one, two, three = lab.hosts({"sick-01": {}, "sick-02": {}, "sick-03": {"gpus": ["driver-mismatch"]}})
    names = ["sick-01", "sick-02", "sick-03", "off"]
    fleet = make_fleet(
        {
            "defaults": {"models_dir": "/srv/models"},
            "groups": {"sick": {"hosts": names, "models": ["reasoner"]}},
            "hosts": {
                "sick-01": {"address": one.address, "ssh": {"user": "student"}, "sudo": True},
                "sick-02": {"address": two.address},
                "sick-03": {"address": three.address},
                "off": {"address": one.address, "ssh": {"port": 4}},
            },
        }
    )
    fleet.change(
        models={"other": {"from": "models.nowhere.lan/some/model", "num_ctx": 512}},
        hosts={"sick-03": {"models": ["other"]}},
    )
    two.run("mkdir -p /srv/models && mount -t tmpfs -o size=1m tmpfs /srv/models")
    two.run("systemd-run --quiet --unit=other python3 -m http.server 11434")
    three.write("/usr/local/bin/ollama", "#!/bin/sh\necho ollama version is 0.1.33\n", 0o755)
    # The clock is the machine's own, for all hosts: only what `date` says can be wrong in a container.
    three.write(
        "/usr/local/bin/date", '#!/bin/sh\n[ "$1" = +%s ] && echo 1000000000 || exec /bin/date "$@"\n', 0o755
    )
    before = [host.snapshot() for host in (two, three)]

    run = fleet.run("ollama-fleet", "doctor", "--json")

    assert run.code == 1, str(run)
    assert [host.snapshot() for host in (two, three)] == before
    ((status, told, remedy),) = not_ok(run, "sick-01", "rights")
    assert (status, remedy) == (
        "problem",
        "let it use sudo without a password, by `visudo`: student ALL=(ALL) NOPASSWD: ALL",
    )
    assert told.startswith("sudo refuses student: ")
    ((status, told, remedy),) = not_ok(run, "sick-02", "disk")
    assert (status, remedy) == ("problem", "make room, or put models_dir on another disk")
    assert told.startswith("/srv/models: 0.0 GiB free, ")
    ((status, told, remedy),) = not_ok(run, "sick-02", "port")
    assert (status, remedy) == ("problem", "stop that, or write another port in listen")
    assert told.startswith("11434 is taken by python3 (process ")
    ((status, told, remedy),) = not_ok(run, "sick-03", "dns")
    assert (status, told) == ("problem", "models.nowhere.lan has no address there")
    ((status, told, remedy),) = not_ok(run, "sick-03", "driver")
    assert status == "problem"
    assert "nvidia-smi" in (remedy or "")
    ((status, told, remedy),) = not_ok(run, "sick-03", "clock")
    assert (status, remedy) == ("problem", "switch time synchronisation on: `timedatectl set-ntp true`")
    assert "behind this machine's" in told
    ((status, told, remedy),) = not_ok(run, "sick-03", "version")
    assert (status, remedy) == ("warning", f"an apply replaces it by {fleet.document['release']['version']}")
    assert "CVE-2026-7482: " in told
    ((status, told, remedy),) = not_ok(run, "off", "connection")
    assert status == "problem"
    assert "port 4" in (remedy or "")

    for_people = fleet.run("ollama-fleet", "doctor", "sick-02")
    assert for_people.code == 1
    assert "  ✗ port: 11434 is taken by python3 (process " in for_people.stdout
    assert "      → stop that, or write another port in listen" in for_people.stdout.splitlines()
    assert for_people.stdout.splitlines()[-1] == "1 host: in the way of an apply: sick-02"
