"""A planted secret is in one file of the host, in the server's environment, and nowhere else."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converge.fleet_directory import FleetDirectory
from converge.outside_view import main_pid, process_environment
from faults.conftest import MakeFleet
from faults.watch import Watch
from lab import Lab
from lab.host import Host

pytestmark = pytest.mark.lab

ENVIRONMENT = "/etc/ollama-fleet/environment"
SNAPSHOT = "/var/lib/ollama-fleet/unproven"
"""The host as it was, its environment among it, for as long as a change has not proven itself."""
SOAK = pytest.mark.soak
WRITTEN = (
    pytest.param(["-y", "-v"], marks=SOAK),
    pytest.param(["-y", "-vv", "--diff"], marks=SOAK),
    pytest.param(["-y", "-vvv", "--diff"], marks=SOAK),
    pytest.param(["-y", "--debug"], marks=SOAK),
    ["-y", "--debug-all", "-vvv", "--diff"],
    ["-y", "--json", "-vvv"],
)
LOOKED = (
    ("pyinfra", "--dry", "-vvv", "--diff", "--debug-all", "inventory/hosts.py", "deploy.py"),
    ("pyinfra", "--debug-operations", "--json", "inventory/hosts.py", "deploy.py"),
    ("pyinfra", "-vvv", "--debug-all", "inventory/hosts.py", "debug-inventory"),
    ("ollama-fleet", "drift"),
    ("ollama-fleet", "drift", "--json"),
    pytest.param(("pyinfra", "--dry", "--json", "inventory/hosts.py", "deploy.py"), marks=SOAK),
    pytest.param(("pyinfra", "--debug-operations", "inventory/hosts.py", "deploy.py"), marks=SOAK),
    pytest.param(("pyinfra", "--debug-facts", "inventory/hosts.py", "deploy.py"), marks=SOAK),
    pytest.param(("pyinfra", "--json", "inventory/hosts.py", "debug-inventory"), marks=SOAK),
    pytest.param(("ollama-fleet", "validate", "--json"), marks=SOAK),
)
JOURNALS = ("/run/log/journal/", "/var/log/journal/")
_Q = "\"'\\$`%+/ "
"""Around the core of each secret: what quoting and encoding would change."""


def is_planted(content: bytes) -> bool:
    """The core of a secret is letters and digits, so that no quoting changes it; only base64 and hex would."""
    return any(form in content for form in FORMS)


def core(name: str, generation: int) -> str:
    return f"pLaNtEd{name}SeCrEt{generation}xYz"


def forms(text: str) -> set[bytes]:
    """A text as it is, as hex, backwards, and as base64 wherever in a group of three it begins."""
    raw = text.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]}
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + raw)
        # The characters at both ends depend on the neighbours too.
        found.add(encoded[4 if lead else 0 : len(encoded) - 4])
    return found


# What all generations have in common is enough to look for.
TOKEN = forms("pLaNtEdTokenSeCrEt")
FORMS = TOKEN | forms("pLaNtEdFileSeCrEt")


def test_the_search_finds() -> None:
    text = core("Token", 1)
    for pad in range(4):
        assert is_planted(base64.b64encode(b"x" * pad + text.encode() + b"yy"))
        assert is_planted(base64.urlsafe_b64encode(b"x" * pad + text.encode()))
    assert is_planted(f"a{text}b".encode())
    assert not is_planted(b"pLaNtEd")


@dataclass
class Planted:
    """A host reached through sudo, its fleet, and secrets that can be rotated."""

    fleet: FleetDirectory
    host: Host
    generation: int = 0

    def rotate(self) -> dict[str, str]:
        """Give both secrets new values; returns the variables as the server must see them."""
        self.generation += 1
        wanted = {name: _Q + core(name, self.generation) + _Q.strip() for name in ("Token", "File")}
        self.fleet.environment["PLANTED"] = wanted["Token"]
        place = self.fleet.path / "secret.txt"
        place.write_text(wanted["File"] + "\n")
        place.chmod(0o600)
        return {"FLEET_TOKEN": wanted["Token"], "HTTPS_PROXY": wanted["File"]}


@pytest.fixture(scope="module")
def planted(lab: Lab, make_fleet: MakeFleet) -> Iterator[Planted]:
    host = lab.host("planted", firewall="ufw")
    fleet = make_fleet(
        {"planted": host},
        {
            "defaults": {
                "env": {"FLEET_TOKEN": "env:PLANTED", "HTTPS_PROXY": "file:secret.txt"},
                "ssh": {"user": "admin"},
                "sudo": True,
            }
        },
    )
    made = Planted(fleet, host)
    made.rotate()
    assert fleet.apply().code == 0
    yield made
    lab.remove(host)


SERVER = [b"/opt/ollama/current/bin/ollama", b"serve", b""]
# systemd gives a unit's variables also to what the unit runs before its server: root, for a moment.
MODPROBE = [b"-c", b"command -v nvidia-modprobe >/dev/null && exec nvidia-modprobe -u -c 0", b""]


def check_host(watch: Watch, host: Host, wanted: dict[str, str]) -> None:
    """The one file, the one unit, nothing else; `watch` saw all that was written in between."""
    assert watch.command_lines == set()
    for line in watch.environments:
        assert line.split(b"\0")[-3:] in (SERVER, MODPROBE)
    for seen in watch.files:
        if seen.where.startswith(JOURNALS):
            continue
        copied = seen.where.startswith((f"{SNAPSHOT}/files/", f"{SNAPSHOT}.new/files/"))
        assert copied or seen.where in {ENVIRONMENT, f"{ENVIRONMENT}.fleet-new"}
        assert (seen.mode, seen.owner) == (0o600, 0)
    running = process_environment(host, main_pid(host))
    assert {name: running.get(name) for name in wanted} == wanted


def files_that_hold_it(root: Path) -> set[str]:
    """Every file on the host's disk and in its memory file systems, whoever wrote it."""
    found = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if f"{folder}/{name}" not in {f"{root}/proc", f"{root}/sys"}]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and is_planted(path.read_bytes()):
                found.add(str(path).removeprefix(str(root)))
    return found


@pytest.mark.parametrize("options", WRITTEN, ids=" ".join)
def test_apply(planted: Planted, options: list[str]) -> None:
    host = planted.host
    wanted = planted.rotate()
    with Watch(host, is_planted) as watch:
        run = planted.fleet.pyinfra(*options)
    assert run.code == 0, str(run)
    assert not is_planted(run.text.encode())
    assert not is_planted(planted.fleet.logs()[-1].encode())
    check_host(watch, host, wanted)
    # The watch was awake: it saw the file come and the command that wrote it.
    assert ENVIRONMENT in {seen.where for seen in watch.files}
    assert any(b"ollama-fleet" in line for line in watch.commands)


def test_the_whole_host_afterwards(planted: Planted) -> None:
    host = planted.host
    planted.rotate()
    run = planted.fleet.apply()
    assert run.code == 0, str(run)
    assert host.run(["stat", "-c", "%U %a", ENVIRONMENT]).stdout == "root 600\n"
    everywhere = files_that_hold_it(Path(f"/proc/{host.leader}/root"))
    assert {path for path in everywhere if not path.startswith(JOURNALS)} == {ENVIRONMENT}
    # Ollama itself logs the proxies at every start, which the user is told.
    journal = host.run("journalctl --no-pager --output=export").stdout.encode()
    assert not any(form in journal for form in TOKEN)
    note = "the server writes HTTPS_PROXY into its log when it starts: whoever may read the journal reads the secret"
    assert note in run.notes("planted")
    for asked in (
        "systemctl show ollama.service; systemctl cat ollama.service; systemctl status --lines=0 --full ollama",
        "systemctl show-environment",
    ):
        assert not is_planted(host.run(asked, check=False).stdout.encode()), asked
    assert host.run(["cat", ENVIRONMENT], user="student", check=False).returncode != 0


@pytest.mark.parametrize("command", LOOKED, ids=" ".join)
def test_look(planted: Planted, command: tuple[str, ...]) -> None:
    """With a secret that is not on the host yet, so that there is something to tell."""
    planted.rotate()
    with Watch(planted.host, is_planted) as watch:
        run = planted.fleet.run(*command)
    assert "Traceback" not in run.text
    assert not is_planted(run.text.encode())
    assert {seen.where for seen in watch.files if not seen.where.startswith(JOURNALS)} == set()
    assert watch.command_lines == set()


def test_failing_runs(planted: Planted) -> None:
    """An apply that fails, one that breaks with a traceback and its debug log, secrets that cannot be had."""
    fleet, host = planted.fleet, planted.host
    planted.rotate()
    deploy = fleet.path / "deploy.py"
    whole = deploy.read_text()
    deploy.write_text(whole + "\nraise RuntimeError('after all')\n")
    run = fleet.pyinfra("-y", "-vvv")
    deploy.write_text(whole)
    assert run.code != 0
    assert not is_planted(run.text.encode())
    host.write("/etc/ollama-fleet/environment.fleet-new/in-the-way", "")
    run = fleet.pyinfra("-y", "-vvv", "--debug-all")
    host.run("rm -r /etc/ollama-fleet/environment.fleet-new")
    assert run.code == 1
    assert not is_planted(run.text.encode())
    for path in fleet.path.rglob("*"):
        if path.is_file() and path.name != "secret.txt":
            assert not is_planted(path.read_bytes()), path
    planted.fleet.environment["PLANTED"] = core("Token", 99) + "\n" + "second line"
    run = fleet.pyinfra("-y", "-vvv")
    assert run.code == 1
    (line,) = [line for line in run.told("planted") if "env.FLEET_TOKEN" in line]
    assert line.endswith(
        "env.FLEET_TOKEN: env:PLANTED: it holds a line break or another character that no variable can"
    )
    assert not is_planted(run.text.encode())
    del fleet.environment["PLANTED"]
    run = fleet.pyinfra("-y")
    assert run.code == 1
    assert any(
        "env.FLEET_TOKEN: env:PLANTED: no such variable is set here" in line for line in run.told("planted")
    )


def test_rotation_is_drift_and_restarts_once(planted: Planted) -> None:
    fleet, host = planted.fleet, planted.host
    planted.rotate()
    assert fleet.apply().code == 0
    assert fleet.drift().code == 0
    before = main_pid(host)
    wanted = planted.rotate()
    drift = fleet.drift()
    assert drift.code == 2
    changes = drift.document["hosts"]["planted"]["changes"]
    assert {(change["kind"], change["name"]) for change in changes} == {
        ("file", ENVIRONMENT),
        ("service", "ollama"),
    }
    assert drift.document["hosts"]["planted"]["restarts"] is True
    mark = (
        host.run("journalctl --no-pager -n1 --show-cursor --quiet")
        .stdout.rpartition("-- cursor: ")[2]
        .strip()
    )
    assert fleet.apply().code == 0
    after = main_pid(host)
    assert after != before
    started = host.run(
        f"journalctl --no-pager --after-cursor='{mark}' -u ollama --output=cat --grep=^Started", check=False
    )
    assert started.stdout.count("Started") == 1, started
    running = process_environment(host, after)
    assert {name: running.get(name) for name in wanted} == wanted
    again = fleet.apply()
    assert again.code == 0
    assert again.changed("planted") == set()
    assert main_pid(host) == after
