"""Upgrades in batches: a release that is no good goes no further than the first host, which comes back from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from converge.command_runs import Run
from converge.fleet_directory import FleetDirectory
from converge.outside_view import main_pid, process_environment
from faults.caller import Caller
from faults.conftest import NEWER, OLDER, MakeFleet, Shelf, tree, unequal
from lab import Lab
from lab.host import Host
from ollama_sim.build import build_release

pytestmark = pytest.mark.lab

GIB = 1 << 30
GPU = {"name": "NVIDIA GeForce RTX 4090", "memory_bytes": 24 * GIB}
WITH_TGZ = "0.13.5"


@dataclass
class Pair:
    """Two hosts with a GPU each that serve one model, and change one after the other."""

    lab: Lab
    shelf: Shelf
    fleet: FleetDirectory
    first: Host
    second: Host
    say: Callable[[str], None]

    @property
    def hosts(self) -> dict[str, Host]:
        return {"first": self.first, "second": self.second}

    def publish(self, version: str, faults: dict[str, object], archive: str = "tar.zst") -> None:
        """Put a release on the shelf."""
        out = self.fleet.path / f"release-{version}"
        for architecture in ("amd64", "arm64"):
            build_release(version, architecture, archive, out, faults)  # type: ignore[arg-type]
        for file in out.iterdir():
            self.lab.registry.publish(file, f"rollout/{version}/{file.name}")
        self.shelf.sources[version] = f"{self.lab.registry.files_url}rollout/{version}"

    def ask(self, version: str, words: str = "Old words.") -> None:
        """Ask for a release, and with it for other variables and another prompt."""
        self.fleet.change(
            release={"version": version, "source": self.shelf.sources[version]},
            defaults={"env": {"FLEET_WORDS": words}},
            models={"small": {"system": words}},
        )
        self.fleet.lock()

    def apply(self, what: str) -> tuple[Run, dict[str, Caller]]:
        """Apply while somebody uses each of the hosts."""
        with ExitStack() as stack:
            callers = {name: stack.enter_context(Caller(host, name)) for name, host in self.hosts.items()}
            run = self.fleet.apply()
        for caller in callers.values():
            caller.report(self.say, what)
        return run, callers

    def all_is_old(self) -> None:
        """Both hosts are exactly as fleet.yaml asked before: release, environment, models, what is in memory."""
        self.ask(OLDER)
        drift = self.fleet.drift()
        assert drift.code == 0, str(drift)


@pytest.fixture(scope="module")
def pair(lab: Lab, shelf: Shelf, make_fleet: MakeFleet, pytestconfig: pytest.Config) -> Iterator[Pair]:
    first, second = lab.hosts({"first": {"gpus": ["rtx-4090"]}, "second": {"gpus": ["rtx-4090"]}})
    for host in (first, second):
        host.write("/etc/ollama-sim.json", json.dumps({"gpus": [GPU]}))
    fleet = make_fleet(
        {"first": first, "second": second},
        {
            "rollout": {"batch": 1},
            "defaults": {
                "listen": "0.0.0.0:11434",
                "firewall": {"allow_from": lab.cidrs("lan")},
                "env": {"OLLAMA_KEEP_ALIVE": -1},
            },
            "models": {"small": {"num_gpu": "auto", "preload": True}},
        },
    )
    captured = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        """Whoever runs this shall see the figures."""
        with captured.global_and_fixture_disabled():
            print(f"\n{line}", end="", flush=True)

    made = Pair(lab, shelf, fleet, first, second, say)
    made.ask(OLDER)
    run = fleet.apply()
    assert run.code == 0, str(run)
    yield made
    for host in (first, second):
        lab.remove(host)


def loaded(host: Host) -> list[tuple[str, bool]]:
    """Models in memory, and whether they are on the GPU."""
    listed = json.loads(host.run("curl -sf http://127.0.0.1:11434/api/ps").stdout)["models"]
    return [(model["name"], model["size_vram"] > 0) for model in listed]


def environment(host: Host) -> dict[str, str]:
    """The variables of the running server."""
    return process_environment(host, main_pid(host))


def settled(host: Host, version: str) -> dict[str, object]:
    """The host's tree without the release that was unpacked and is not in use."""
    return {
        path: entry for path, entry in tree(host).items() if not path.startswith(f"/opt/ollama/{version}")
    }


def test_a_release_that_does_not_start_is_never_switched_to(pair: Pair) -> None:
    pair.publish("0.24.2", {"start": "exit"})
    before = {name: (main_pid(host), settled(host, "0.24.2")) for name, host in pair.hosts.items()}
    pair.ask("0.24.2", "New words.")
    run, callers = pair.apply("does not start")
    assert run.code == 1
    for name, host in pair.hosts.items():
        (reason,) = [line for line in run.told(name) if line.startswith("release 0.24.2 does not start")]
        assert "the stand-in was told to fail at its start; nothing was switched" in reason
        assert (callers[name].lost, callers[name].versions) == (0, [OLDER])
        assert main_pid(host) == before[name][0]
        assert unequal(before[name][1], settled(host, "0.24.2")) == []
        assert host.run(["pgrep", "-cf", "ollama serve"]).stdout.strip() == "1"
        assert host.run("ls -d /tmp/tmp.*", check=False).stdout == ""
    pair.all_is_old()


@pytest.mark.parametrize(
    ("version", "faults", "reason"),
    [
        ("0.24.3", {"start": "exit-on-models"}, "ollama.service does not stay up, exit status 1"),
        ("0.24.4", {"errors": {"/api/generate": [500, "boom"]}}, "boom"),
        ("0.24.5", {"blind": True}, "small:latest: it runs on the CPU, planned are"),
    ],
    ids=["does not stay up", "answers wrongly", "sees no GPU"],
)
def test_a_release_that_is_no_good_is_come_back_from(
    pair: Pair, version: str, faults: dict[str, object], reason: str
) -> None:
    pair.publish(version, faults)
    before = {name: settled(host, version) for name, host in pair.hosts.items()}
    pid = main_pid(pair.second)
    assert loaded(pair.first) == [("small:latest", True)]
    pair.ask(version, "New words.")
    run, callers = pair.apply(reason)

    assert run.code == 1
    assert len([line for line in run.told("first") if reason in line]) == 1, str(run)
    back = f"went back to release {OLDER} with its environment and models; it serves"
    assert run.told("first").count(back) == 1, str(run)
    left = "rollout: rollout stopped: first failed; this host is left as it was"
    assert run.told("second").count(left) == 1, str(run)
    assert "Traceback" not in run.text

    # Whoever used the first host saw it restart, and back again; whoever used the second saw nothing.
    assert callers["first"].versions in ([OLDER], [OLDER, version, OLDER])
    assert callers["first"].outages <= 2
    assert (callers["second"].lost, callers["second"].versions) == (0, [OLDER])
    assert main_pid(pair.second) == pid

    for name, host in pair.hosts.items():
        after = settled(host, version)
        assert (
            unequal(before[name], {path: entry for path, entry in after.items() if path in before[name]})
            == []
        )
        # Parts of the new model that nobody refers to are left to the server, which removes them by itself.
        assert all(
            path.startswith("/srv/ollama/models/blobs/") for path in after.keys() - before[name].keys()
        )
        assert loaded(host) == [("small:latest", True)]
    pair.all_is_old()


def test_upgrade_in_batches_rollback_by_hand_and_downgrade(pair: Pair) -> None:
    pair.ask(NEWER, "New words.")
    run, callers = pair.apply("upgrade")
    assert run.code == 0, str(run)
    for name, host in pair.hosts.items():
        assert callers[name].versions == [OLDER, NEWER]
        assert callers[name].outages <= 1
        assert loaded(host) == [("small:latest", True)]
        assert not host.exists("/var/lib/ollama-fleet/unproven")
        assert not host.exists("/srv/ollama/models/.fleet-unproven")
    assert callers["first"].first(NEWER) < callers["second"].last(OLDER)
    assert pair.fleet.drift().code == 0

    with Caller(pair.first, "first") as caller:
        back = pair.fleet.run("ollama-fleet", "rollback", "first")
    caller.report(pair.say, "rollback by hand")
    assert back.code == 0, str(back)
    assert f"first: went back to release {OLDER} with its environment; it serves" in back.stdout
    assert f"still asks for release {NEWER}: the next apply goes there again" in back.stdout
    assert caller.versions == [NEWER, OLDER]
    assert environment(pair.first)["FLEET_WORDS"] == "Old words."
    assert loaded(pair.first) == [("small:latest", True)]
    drift = pair.fleet.drift()
    assert drift.code == 2
    changed = {item["kind"] for item in json.loads(drift.stdout)["hosts"]["first"]["changes"]}
    assert changed == {"release", "file", "service"}, str(drift)
    assert json.loads(drift.stdout)["hosts"]["second"]["changes"] == []

    told = pair.fleet.run("ollama-fleet", "history", "-n", "1", "first")
    assert f"rollback to release {OLDER}: release, environment" in told.text, str(told)

    # The next one goes where the host came from, and an apply finds nothing left to do.
    again = pair.fleet.run("ollama-fleet", "rollback", "first")
    assert f"went back to release {NEWER}" in again.stdout, str(again)
    assert "still asks" not in again.stdout
    assert pair.fleet.drift().code == 0

    pair.publish(WITH_TGZ, {}, "tgz")
    pair.ask(WITH_TGZ)
    run, callers = pair.apply("downgrade")
    assert run.code == 0, str(run)
    assert all(caller.versions == [NEWER, WITH_TGZ] for caller in callers.values())
    assert pair.fleet.drift().code == 0


def test_rollback_of_a_host_that_cannot(pair: Pair) -> None:
    group = pair.fleet.run("ollama-fleet", "rollback", "rack")
    assert (group.code, group.stdout) == (1, "")
    assert "rack is a group; name one host" in group.stderr
    pair.second.run("mv /var/lib/ollama-fleet/previous /var/lib/ollama-fleet/elsewhere")
    none = pair.fleet.run("ollama-fleet", "rollback", "second")
    pair.second.run("mv /var/lib/ollama-fleet/elsewhere /var/lib/ollama-fleet/previous")
    assert (none.code, none.stdout) == (1, "")
    assert "second: no release before this one is kept here" in none.stderr


def test_a_canary_has_a_release_of_its_own(pair: Pair) -> None:
    pair.fleet.change(
        groups={
            "canary": {
                "hosts": ["second"],
                "release": {"version": NEWER, "source": pair.shelf.sources[NEWER]},
            }
        }
    )
    pair.ask(OLDER)
    run, callers = pair.apply("canary")
    assert run.code == 0, str(run)
    assert {name: caller.versions[-1] for name, caller in callers.items()} == {
        "first": OLDER,
        "second": NEWER,
    }
    assert pair.fleet.drift().code == 0
