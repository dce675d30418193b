"""What people see while an apply runs and at its end, on real terminals and in pipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converge.fleet_directory import FleetDirectory
from converge.terminal import Terminal
from faults.conftest import NEWER, MakeFleet, Shelf
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf

pytestmark = pytest.mark.lab

FILES = ("inventory/hosts.py", "deploy.py")
SLOW = 200_000
"""Bytes per second; the big model has 2.9 million."""
PULLING = re.compile(
    r"^slow  pulling \S*big:latest(?: \(2 of 2\))?  [━╌]{20} +(?P<share>\d+)%  (?P<done>[\d.]+) MiB of 2\.9 MiB"
    r"  (?P<rate>[\d.]+) MiB/s +(?P<left>\d+) s left$",
    re.MULTILINE,
)
COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-8]|9[0-7])[;m]")
RIGHT = "2 of 2 hosts are as fleet.yaml asks"


@dataclass
class Pair:
    """Two hosts; the pulls of one of them are slow."""

    lab: Lab
    shelf: Shelf
    fleet: FleetDirectory
    slow: Host
    other: Host

    def ask_for_big(self, *hosts: str) -> None:
        """Have the big model on these hosts too."""
        big = {"from": self.shelf.big, "num_ctx": 64, "num_gpu": 0}
        self.fleet.change(models={"big": big}, groups={"more": {"hosts": list(hosts), "models": ["big"]}})
        self.fleet.lock()

    def terminal(self, *options: str, **window: int) -> Terminal:
        """An apply on a terminal."""
        return Terminal(self.fleet, "pyinfra", *options, *FILES, columns=window.get("columns", 120))


@pytest.fixture(scope="module")
def pair(lab: Lab, shelf: Shelf, make_fleet: MakeFleet) -> Iterator[Pair]:
    slow, other = lab.hosts({"slow": {}, "other": {}})
    slow.write("/etc/ollama-sim.json", json.dumps({"pull": {"bytes_per_second": SLOW}}))
    fleet = make_fleet({"slow": slow, "other": other})
    run = fleet.apply()
    assert run.code == 0, str(run)
    yield Pair(lab, shelf, fleet, slow, other)
    for host in (slow, other):
        lab.remove(host)


def test_a_slow_pull_is_seen_and_goes_on_where_it_broke_off(pair: Pair) -> None:
    pair.ask_for_big("slow")
    with pair.terminal("-y") as terminal:
        frame = terminal.wait_for(lambda screen: (at := PULLING.search(screen)) and int(at["share"]) >= 30)
        terminal.interrupt()
        terminal.end()
    before = PULLING.search(frame)
    assert before is not None
    done, rate = float(before["done"]), float(before["rate"])
    assert done / 2.9 == pytest.approx(int(before["share"]) / 100, abs=0.03)
    assert rate <= 0.3
    # What is shown is rounded.
    assert (
        (2.8 - done) / (rate + 0.05) - 1 <= int(before["left"]) <= (3.0 - done) / max(rate - 0.05, 0.01) + 1
    )
    last = terminal.all_lines
    assert "Traceback" not in "\n".join(last)
    assert not any(PULLING.match(line) for line in last)
    assert any("at work when it ended: slow (pulling " in line for line in last)
    assert "        next: pyinfra -y inventory/hosts.py deploy.py" in last

    with pair.terminal("-y") as terminal:
        first = PULLING.search(terminal.wait_for(PULLING.search))
        assert terminal.end() == 0
    assert first is not None
    assert int(first["share"]) >= int(before["share"])
    # What was there does not count as what the line brings.
    assert float(first["rate"]) <= 0.3
    seen = [len(re.findall(r"Rollout \(\d of \d+\)", frame)) for frame in terminal.frames]
    assert max(seen) == 1
    last = [line for line in terminal.all_lines if line]
    summary = last[last.index("--> Summary:") :]
    assert summary[1].startswith(f"    {RIGHT} (")
    assert summary[2:4] == [
        "      slow: Ollama 0.24.0 on loopback only: small:latest, big:latest",
        "      other: Ollama 0.24.0 on loopback only: small:latest",
    ]
    assert summary[4].startswith("    log: ")
    assert summary[5:] == []
    assert not any("Success" in line and line.startswith("    [") for line in last)
    log = pair.fleet.logs()[-1]
    assert re.search(r"INFO +\[slow\]  pulling \S+big:latest$", log, re.MULTILINE)
    assert "[slow]  Success" in log
    assert "\x1b" not in log


def test_a_pipe_gets_plain_lines(pair: Pair) -> None:
    pair.ask_for_big("slow", "other")
    pair.fleet.change(models={"big": {"system": "Said in a pipe."}})
    run = pair.fleet.pyinfra("-y")
    assert run.code == 0, str(run)
    assert [sign for sign in run.stdout + run.stderr if sign < " " and sign != "\n"] == []
    assert f"pulling {pair.shelf.big}" in run.told("other")
    assert "creating big:latest" in run.told("slow")
    summary = run.text.splitlines()[run.text.splitlines().index("--> Summary:") :]
    assert summary[1].startswith(f"    {RIGHT} (")
    assert len([line for line in summary if line]) == 3


def test_a_dry_run_shows_no_progress_and_writes_no_log(pair: Pair) -> None:
    logs = pair.fleet.logs()
    with pair.terminal("--dry") as terminal:
        assert terminal.end() == 0
    text = "\n".join(terminal.all_lines)
    assert "Summary" not in text
    assert not any("at work" in frame for frame in terminal.frames)
    assert pair.fleet.logs() == logs


@pytest.mark.parametrize("order", ["--serial", "--no-wait"])
def test_other_orders_of_the_work(order: str, pair: Pair) -> None:
    with pair.terminal("-y", order) as terminal:
        assert terminal.end() == 0
    assert any(line.startswith(f"    {RIGHT}") for line in terminal.lines)
    assert any(line.startswith("    Grand total") for line in terminal.all_lines)


def test_no_color_is_respected_in_a_narrow_window(pair: Pair) -> None:
    terminal = Terminal(pair.fleet, "pyinfra", "-y", *FILES, columns=40, environment={"NO_COLOR": "1"})
    with terminal:
        assert terminal.end() == 0
    assert COLOUR.search(terminal.raw) is None
    assert "".join(RIGHT.split()) in "".join("".join(terminal.lines).split())
    with pair.terminal("-y") as coloured:
        coloured.end()
    assert COLOUR.search(coloured.raw)


def test_a_question_can_be_read_and_answered(pair: Pair, tmp_path: Path) -> None:
    """Without -y pyinfra asks before it begins, and again when a host fails; the board makes room for that."""
    registry, fleet = pair.lab.registry, pair.fleet
    registry.push_gguf("faults/again", tiny_gguf(tmp_path / "again.gguf", seed=31))
    again = registry.model("faults/again")
    fleet.change(
        models={"again": {"from": again, "num_ctx": 64, "num_gpu": 0}},
        groups={"last": {"hosts": ["other"], "models": ["again"]}},
    )
    fleet.lock()
    registry.set_faults(corrupt=1)
    with pair.terminal() as terminal:
        terminal.wait_for(lambda screen: "Press enter to execute..." in screen)
        terminal.type("\n")
        asked = terminal.wait_for(lambda screen: "One of more hosts failed, continue?" in screen)
        terminal.type("\n")
        assert terminal.end() == 1
    registry.set_faults()
    assert "Rollout (" not in asked
    assert f"[other] pull {again}: " in asked
    last = "\n".join(terminal.all_lines)
    summary = last[last.index("--> Summary:") :]
    assert "    1 of 2 hosts are as fleet.yaml asks, 1 failed (" in summary
    told = " ".join(summary.split())
    assert f"other failed at Rollout: pull {again}: " in told
    assert "digest mismatch" in told
    assert "next: pyinfra inventory/hosts.py deploy.py --limit other" in told
    assert fleet.pyinfra("-y", "--limit", "other").code == 0


@pytest.mark.parametrize("limit", [(), ("--limit", "other")], ids=["one of two", "the only one"])
def test_a_host_that_is_not_reached(limit: tuple[str, ...], pair: Pair) -> None:
    pair.fleet.change(hosts={"other": {"ssh": {"user": "nobody-there"}}})
    run = pair.fleet.pyinfra("-y", *limit)
    pair.fleet.change(hosts={"other": {"ssh": {"user": "root"}}})
    assert run.code == 1
    lines = run.text.splitlines()
    summary = lines[lines.index("--> Summary:") :]
    failed = [
        at for at, line in enumerate(summary) if line.startswith("      other failed before anything was")
    ]
    assert len(failed) == 1, str(run)
    assert summary[failed[0] + 1] == "        next: ollama-fleet doctor other"
    assert summary[1].startswith("    0 of 1 host is as" if limit else "    1 of 2 hosts are as")


def test_a_release_that_a_host_fetches_is_seen_on_its_way(pair: Pair) -> None:
    pair.fleet.change(release={"version": NEWER, "source": pair.shelf.sources[NEWER]})
    pair.fleet.lock()
    pair.lab.registry.set_faults(bytes_per_second=20_000)
    seen = re.compile(
        r"^other  fetching ollama-linux-amd64\.tar\.zst  .* (?P<share>\d+)%  0\.\d MiB of 0\.\d MiB",
        re.MULTILINE,
    )
    with pair.terminal("-y") as terminal:
        first = seen.search(terminal.wait_for(seen.search))
        assert first is not None
        terminal.wait_for(
            lambda screen: (at := seen.search(screen)) and int(at["share"]) > int(first["share"])
        )
        pair.lab.registry.set_faults()
        assert terminal.end() == 0
    assert any(line.startswith(f"    {RIGHT}") for line in terminal.lines)
