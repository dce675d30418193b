"""The examples of docs/gitops.md: the very commands against a fleet, the timer on a host."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from converge.conftest import Rack
from converge.fleet_directory import ROOT
from lab.host import Host
from ollama_fleet.outputs.schemas import SCHEMAS

COMMANDS = ("ollama-fleet", "pyinfra")
UNITS = "/etc/systemd/system"


def files() -> dict[str, str]:
    """The blocks of the page by the path in the comment of their first lines."""
    text = (ROOT / "docs/gitops.md").read_text(encoding="utf-8")
    found = {}
    for block in re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if named := re.match(r"(?:#!.*\n)?# (\S+)\n", block):
            found[named[1]] = block
    return found


FILES = files()


def github() -> dict[str, list[str]]:
    """Our commands by job."""
    workflow = yaml.safe_load(FILES[".github/workflows/fleet.yaml"])
    return {name: ours(step.get("run") for step in job["steps"]) for name, job in workflow["jobs"].items()}


def gitlab() -> dict[str, list[str]]:
    pipeline = yaml.safe_load(FILES[".gitlab-ci.yml"])
    return {name: ours(job["script"]) for name, job in pipeline.items() if name not in ("default", "stages")}


def ours(lines: Any) -> list[str]:
    return [line for line in lines if line and line.startswith(COMMANDS)]


def test_the_workflow_is_one() -> None:
    workflow = yaml.safe_load(FILES[".github/workflows/fleet.yaml"])
    events = workflow[True]  # YAML 1.1 reads the key `on` as a boolean, and so does GitHub's own parser
    assert set(events) == {"pull_request", "push", "schedule"}
    assert all(len(it["cron"].split()) == 5 for it in events["schedule"])
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_the_pipeline_is_one() -> None:
    pipeline = yaml.safe_load(FILES[".gitlab-ci.yml"])
    for name, job in pipeline.items():
        if name not in ("default", "stages"):
            assert job["stage"] in pipeline["stages"]
            assert all(isinstance(line, str) for line in job["script"])


def test_both_do_the_same() -> None:
    assert github() == gitlab()
    assert set(github()) == {"check", "apply", "drift"}


def job(rack: Rack, lines: list[str]) -> int:
    """Run a job the way runners do: a shell that stops at the first failure."""
    environment = rack.fleet.environment_of_run()
    environment["PATH"] = f"{rack.fleet.commands}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)],
        cwd=rack.fleet.path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def cron(rack: Rack) -> subprocess.CompletedProcess[str]:
    """Run the line of the crontab in the fleet's folder, with the command that is installed here."""
    text = (ROOT / "docs/gitops.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^```crontab\n(.*)\n```$", text, re.MULTILINE)
    schedule, command = line.split(" cd ", 1)
    assert len(schedule.split()) == 5
    command = f"cd {command}".replace("/srv/fleet", shlex.quote(str(rack.fleet.path)))
    command = command.replace("/opt/ollama-fleet/bin", shlex.quote(str(rack.fleet.commands)))
    environment = rack.fleet.environment_of_run()
    return subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.lab
def test_jobs_do_what_they_promise(rack: Rack) -> None:
    jobs = github()
    assert job(rack, jobs["check"]) == 0
    assert job(rack, jobs["drift"]) == 0
    assert cron(rack).stdout == ""

    rack.one.run("systemctl stop ollama")
    assert job(rack, jobs["drift"]) == 2
    drift = json.loads((rack.fleet.path / "drift.json").read_text())
    jsonschema.Draft202012Validator(SCHEMAS["drift"]()).validate(drift)
    assert drift["hosts"]["gpu-01"]["status"] == "drifted"
    assert "gpu-01: service ollama: running: " in cron(rack).stdout

    assert job(rack, jobs["apply"]) == 0
    assert job(rack, jobs["drift"]) == 0


@pytest.fixture
def timer(rack: Rack) -> Iterator[Host]:
    """A host with the timer and its account, and a command that ends with the exit code it is told to."""
    host = rack.one
    host.run("useradd --system fleet")
    host.write("/opt/ollama-fleet/bin/ollama-fleet", '#!/bin/sh\necho "$@"; exit "$(cat /run/code)"\n', 0o755)
    for path, text in FILES.items():
        if path.startswith("/"):
            host.write(path, text, 0o755 if path.startswith("/srv") else 0o644)
    host.run("systemctl daemon-reload")
    yield host
    host.run(
        "systemctl disable --now fleet-drift.timer 2>/dev/null; systemctl reset-failed fleet-drift.service; true"
    )
    host.run(
        f"rm -rf {UNITS}/fleet-drift.* /opt/ollama-fleet /srv/fleet /var/lib/fleet-drift; userdel fleet; true"
    )
    host.run("systemctl daemon-reload")


@pytest.mark.lab
def test_the_timer_calls_and_the_hook_tells_each_change_once(timer: Host) -> None:
    checked = timer.run(f"systemd-analyze verify {UNITS}/fleet-drift.timer {UNITS}/fleet-drift.service 2>&1")
    assert "fleet-drift" not in checked.stdout, checked.stdout
    timer.run("systemctl enable --now fleet-drift.timer")
    assert "fleet-drift.timer" in timer.run("systemctl list-timers --no-pager").stdout

    for code in (0, 2, 2, 1, 0):
        timer.write("/run/code", str(code))
        done = timer.run("systemctl start fleet-drift.service", check=False)
        assert (done.returncode == 0) == (code == 0)
    timer.run("journalctl --sync; true")
    deadline = time.monotonic() + 10
    told: list[str] = []
    while len(told) < 3 and time.monotonic() < deadline:
        said = timer.run("journalctl --no-pager -o cat -t fleet-drift", check=False).stdout
        told = re.findall(r"went to status (\d)", said)
        time.sleep(0.2)
    assert told == ["2", "1", "0"]
