"""The wheel, installed as the README says, in a directory that `ollama-fleet init` has written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from converge.conftest import Release
from converge.fleet_directory import Document, FleetDirectory, merged
from lab import Lab
from lab.fixtures import BootHost
from lab.host import Host

pytestmark = pytest.mark.lab


@pytest.fixture
def started(installed: Path, tmp_path: Path) -> FleetDirectory:
    """A directory that `init` has written."""
    done = subprocess.run(
        [installed / "ollama-fleet", "init", tmp_path / "fleet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return FleetDirectory(tmp_path / "fleet", {}, installed)


def test_starter_is_valid(started: FleetDirectory) -> None:
    run = started.run("ollama-fleet", "validate")
    assert run.code == 0, str(run)


def test_apply(
    started: FleetDirectory, common: Document, new_host: BootHost, lab: Lab, release: Release
) -> None:
    host = new_host(firewall="ufw")
    started.document = merged(
        common,
        {
            "defaults": {"listen": "0.0.0.0:11434", "firewall": {"allow_from": lab.cidrs("lan")}},
            "hosts": {host.name: {"address": host.address, "models": ["reasoner"]}},
        },
    )
    started.write()
    started.lock()
    applied = started.apply()
    assert applied.code == 0, str(applied)
    assert f"Ollama {release.version} on {host.address}:11434: reasoner:latest" in applied.told(host.name)
    mark = host.mark()
    again = started.apply()
    assert again.code == 0, str(again)
    assert again.changed(host.name) == set(), str(again)
    assert len(again.unchanged(host.name)) == 10, str(again)
    assert host.ssh_sessions(since=mark) == ["exec"]
    assert started.drift().code == 0


def test_init_proposes_a_fleet_for_the_machine(installed: Path, new_host: BootHost) -> None:
    host = new_host(gpus=["rtx-4090"])
    give_packages(installed, host)
    code = "import sys; from ollama_fleet.cli import main; sys.argv[0] = 'ollama-fleet'; main()"
    command = f'env PYTHONPATH=/opt/packages python3 -c "{code}"'

    told = host.run(f"{command} init /root/fleet", timeout=120).stdout

    assert "GPUs here: NVIDIA GeForce RTX 4090 (24.0 GiB)" in told
    assert "proposed: deepseek-r1:32b with 8192 tokens of context; runs wholly on rtx-4090: " in told
    planned = host.run(f"cd /root/fleet && {command} validate && {command} plan --json", timeout=120).stdout
    plan = json.loads(planned.partition("\n")[2])["hosts"]["here"]
    assert (plan["gpus"], plan["fits"]) == (["rtx-4090"], True)


def give_packages(installed: Path, host: Host) -> None:
    """What is installed here, at /opt/packages of a host; skips where its Python is another."""
    if host.run("python3 -c 'import sys; print(sys.version_info[:2])'").stdout != f"{sys.version_info[:2]}\n":
        pytest.skip("the host has another Python, for which nothing is installed here")
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    shutil.copytree(packages, host.root / "opt/packages")


@pytest.mark.parametrize("user", ["root", "student"])
def test_local(
    user: str,
    installed: Path,
    common: Document,
    new_host: BootHost,
    release: Release,
    started: FleetDirectory,
) -> None:
    """`@local`: the controller is the host itself, as root and as an ordinary account."""
    host = new_host()
    give_packages(installed, host)
    system = user == "root"
    settings = {"scope": "system"} if system else {"scope": "user", "listen": "127.0.0.1:11500"}
    document = merged(common, {"hosts": {"here": {"address": "@local", "models": ["reasoner"], **settings}}})
    document["defaults"] = {}
    started.document = document
    started.write()
    started.lock()
    shutil.copytree(started.path, host.root / "opt/fleet")
    host.run(f"chown -R {user}: /opt/fleet")

    def pyinfra(*options: str) -> tuple[int, str, str]:
        code = "import sys; from pyinfra_cli.main import main; sys.exit(main())"
        line = f"cd /opt/fleet && exec env PYTHONPATH=/opt/packages python3 -c '{code}' {' '.join(options)}"
        # No session bus: like cron, a container, or a login without systemd.
        argv = [
            "runuser",
            "-u",
            user,
            "--",
            "env",
            "-u",
            "XDG_RUNTIME_DIR",
            f"HOME={home}",
            "/bin/sh",
            "-c",
            line,
        ]
        done = host.run([*argv], check=False, timeout=120)
        return done.returncode, done.stdout, done.stderr

    home = "/root" if system else "/home/student"
    code, out, err = pyinfra("-y", "inventory/hosts.py", "deploy.py")
    assert code == 0, out + err
    port = 11434 if system else 11500
    assert json.loads(host.run(f"curl -sf http://127.0.0.1:{port}/api/version").stdout) == {
        "version": release.version
    }
    code, out, err = pyinfra("-y", "--json", "inventory/hosts.py", "deploy.py")
    assert code == 0, out + err
    totals = json.loads(out)["results"]["totals"]
    assert (totals["success"], totals["error"]) == (0, 0), out + err
    assert "reasoner:latest" in host.run(["bash", "-lc", "ollama list"], user=user).stdout
    if not system:
        # Kept running by a script so far; a login brings a systemd of the account's own, which takes over.
        assert host.exists(f"{home}/.local/state/ollama-fleet/server.pid")
        host.run("loginctl enable-linger student && systemctl start user@1001.service")
        code, out, err = pyinfra("-y", "inventory/hosts.py", "deploy.py")
        assert code == 0, out + err
        assert not host.exists(f"{home}/.local/state/ollama-fleet/server.pid")
        active = host.run(["systemctl", "--user", "is-active", "ollama"], user=user).stdout
        assert active == "active\n"
        assert host.run("curl -sf http://127.0.0.1:11500/").stdout == "Ollama is running"
