"""A dry run tells the truth about every kind of drift, changes nothing, and the apply repairs just that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import jsonschema
import pytest

from converge.conftest import Rack, Release
from converge.drifts import DRIFTS, SERVICE, Drift, Scene
from converge.outside_view import main_pid, written
from lab.host import Host
from lab.snapshot import Entry
from ollama_fleet.outputs.schemas import SCHEMAS

pytestmark = pytest.mark.lab

PREVIOUS = "/var/lib/ollama-fleet/previous"
"""What a rollback goes back to: kept anew by every apply that switches the release or the settings."""
SCHEMA = jsonschema.Draft202012Validator(SCHEMAS["drift"]())


def pairs() -> list[tuple[Drift, ...]]:
    """Two drifts per round, one on each host, since a run over two hosts costs hardly more than over one."""
    one = [drift for drift in DRIFTS if drift.on == "ufw"]
    two = [drift for drift in DRIFTS if drift.on == "nftables"]
    for drift in (drift for drift in DRIFTS if drift.on == "any"):
        min(one, two, key=len).append(drift)
    return [tuple(drift for drift in pair if drift is not None) for pair in zip_longest(one, two)]


@dataclass
class Round:
    """One drift on its host."""

    drift: Drift
    scene: Scene
    before: dict[str, Entry]
    drifted: dict[str, Entry]
    pid: int


@pytest.mark.parametrize("drifts", pairs(), ids=lambda drifts: " + ".join(map(str, drifts)))
def test_drift(drifts: tuple[Drift, ...], rack: Rack, release: Release, base: str) -> None:
    try:
        _round(drifts, rack, release, base)
    except BaseException:
        # What this round leaves behind must not spoil those after it.
        rack.fleet.apply()
        raise


def _round(drifts: tuple[Drift, ...], rack: Rack, release: Release, base: str) -> None:
    rounds = []
    for drift, host in _placed(drifts, rack):
        scene = Scene(host, rack.fleet, base, release.version)
        before = written(host)
        drift.inject(scene)
        rounds.append(Round(drift, scene, before, written(host), main_pid(host)))

    dry, drift = rack.fleet.dry(), rack.fleet.drift()

    assert dry.code == 0, str(dry)
    SCHEMA.validate(drift.document)
    assert drift.code == (2 if any(it.drift.items(it.scene) for it in rounds) else 0), str(drift)
    for it in rounds:
        name = it.scene.host.name
        assert dry.items(name) == it.drift.items(it.scene), str(dry)
        assert drift.drifted(name) == it.drift.items(it.scene), str(drift)
        assert bool(dry.to_change(name)) == bool(it.drift.items(it.scene)), str(dry)
        told = dry.tells_restart(name) or SERVICE in it.drift.items(it.scene)
        assert told or not it.drift.restarts, str(dry)
        assert it.drift.restarts or not dry.tells_restart(name), str(dry)
        assert it.drift.note in "\n".join(dry.notes(name)), str(dry)
        assert it.drift.note in "\n".join(drift.document["hosts"][name]["notes"]), str(drift)
        assert written(it.scene.host) == it.drifted

    applied = rack.fleet.apply()

    assert applied.code == 0, str(applied)
    for it in rounds:
        name = it.scene.host.name
        assert applied.changed(name) == dry.to_change(name), str(applied)
        assert (main_pid(it.scene.host) != it.pid) == it.drift.restarts, str(applied)

    for it in rounds:
        # With the tree as before, the next round's dry run shows that nothing is left to do.
        assert _differences(it.before, written(it.scene.host)) <= it.drift.leaves
        if it.drift.undo:
            it.scene.shell(it.drift.undo)


def test_many_kinds_of_drift_are_known() -> None:
    assert len({drift.name for drift in DRIFTS if not drift.note}) >= 25


def test_a_host_that_is_down_does_not_hide_what_others_have_drifted(rack: Rack) -> None:
    """Exit code 1 outweighs 2, and the others are reported all the same, each with one command."""
    rack.one.run("systemctl stop ollama")
    rack.two.cut_network()
    mark = rack.one.mark()
    try:
        drift = rack.fleet.drift()
    finally:
        rack.two.restore_network()
        rack.one.run("systemctl start ollama")
    assert drift.code == 1, str(drift)
    SCHEMA.validate(drift.document)
    hosts = drift.document["hosts"]
    assert drift.document["status"] == "error"
    assert {name: host["status"] for name, host in hosts.items()} == {"gpu-01": "drifted", "gpu-02": "error"}
    assert hosts["gpu-02"]["error"] == "no connection"
    assert drift.drifted("gpu-01") == {SERVICE}
    assert len(rack.one.ssh_sessions(since=mark)) == 1
    assert rack.fleet.apply().code == 0


def test_nothing_is_left_to_do(rack: Rack) -> None:
    clean = rack.fleet.dry()
    assert clean.code == 0, str(clean)
    drift = rack.fleet.drift()
    assert (drift.code, drift.document["status"]) == (0, "clean"), str(drift)
    for host in rack.hosts:
        assert clean.to_change(host.name) == set(), str(clean)
        assert clean.items(host.name) == set(), str(clean)
        assert clean.notes(host.name) == [], str(clean)


def _placed(drifts: tuple[Drift, ...], rack: Rack) -> Iterator[tuple[Drift, Host]]:
    free = list(rack.hosts)
    for drift in drifts:
        wanted = {"ufw": rack.one, "nftables": rack.two}.get(drift.on, free[0])
        free.remove(wanted)
        yield drift, wanted


def _differences(before: dict[str, Entry], after: dict[str, Entry]) -> set[str]:
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {path for path in changed if not path.startswith(PREVIOUS)}
