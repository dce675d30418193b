"""An apply that finds nothing to do, held against the floor: the same library, a connection and one command.

Real hosts, 1 to 8 of them, all in one run. The aim is a ratio of 1.3 at 8 hosts. Needs root, for the lab.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.host import Host
from lab.tiny_gguf import tiny_gguf
from ollama_sim.build import build_release

VERSION = "0.24.0"
COUNTS = (1, 2, 4, 8)
AIM = 1.3
FLOOR_INVENTORY = """\
from ollama_fleet.deploys.host_entries import prompt_transport

common = {{
    "ssh_user": "root",
    "ssh_key": {key!r},
    "ssh_known_hosts_file": {known_hosts!r},
    "ssh_paramiko_connect_kwargs": {{"transport_factory": prompt_transport}},
}}
hosts = [(name, {{"ssh_hostname": address, **common}}) for name, address in {addresses!r}.items()]
"""
FLOOR_DEPLOY = """\
from pyinfra.operations import server

server.shell(name="One command", commands=["true"])
"""


@dataclass(frozen=True)
class Row:
    """The figures for a number of hosts; times are medians in seconds."""

    hosts: int
    execs: int
    """On each host, as its sshd counts them."""
    floor_execs: int
    apply: float
    floor: float
    apply_cpu: float
    """Of the controller alone: what a loaded machine does not distort."""
    floor_cpu: float

    @property
    def ratio(self) -> float:
        return self.apply / self.floor


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 where an apply that should find nothing to do changes something or fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=7, help="runs of each kind, one after the other in turn"
    )
    rounds = parser.parse_args(arguments).rounds
    reason = Lab.available()
    if reason is not None:
        print(f"no-op apply: left out, since no lab can run here: {reason}")
        return 0
    with Lab.start("bench", say=print) as lab, tempfile.TemporaryDirectory() as temporary:
        hosts = lab.hosts([f"gpu-{number:02}" for number in range(1, max(COUNTS) + 1)], firewall="nftables")
        rows = [measure(lab, hosts[:count], Path(temporary) / str(count), rounds) for count in COUNTS]
    print_table(rows, rounds)
    return 0


def measure(lab: Lab, hosts: Sequence[Host], directory: Path, rounds: int) -> Row:
    """Converge the hosts, then time no-op applies and floors in turn, so that both see the same machine."""
    fleet = converged(lab, hosts, directory)
    one_command = floor(lab, hosts, directory / "floor")

    def apply() -> None:
        run = fleet.apply()
        if run.code or run.document["results"]["totals"]["success"]:
            raise SystemExit(f"an apply that should find nothing to do changed something, or failed:\n{run}")

    execs, floor_execs = sessions(hosts, apply), sessions(hosts, one_command)
    times = [(seconds(apply), seconds(one_command)) for _ in range(rounds)]
    wall, cpu = (
        [statistics.median(run[kind][which] for run in times) for kind in (0, 1)] for which in (0, 1)
    )
    return Row(len(hosts), execs, floor_execs, *wall, *cpu)


def floor(lab: Lab, hosts: Sequence[Host], directory: Path) -> Callable[[], None]:
    """What nothing on these hosts can undercut: pyinfra with a connection and one command for each."""
    directory.mkdir()
    addresses = {host.name: host.address for host in hosts}
    inventory = FLOOR_INVENTORY.format(
        key=str(lab.key), known_hosts=str(lab.known_hosts), addresses=addresses
    )
    (directory / "inventory.py").write_text(inventory)
    (directory / "deploy.py").write_text(FLOOR_DEPLOY)

    def run() -> None:
        argv = [Path(sys.executable).parent / "pyinfra", "-y", "--json", "inventory.py", "deploy.py"]
        subprocess.run(argv, cwd=directory, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    return run


def converged(lab: Lab, hosts: Sequence[Host], directory: Path) -> FleetDirectory:
    """A fleet of these hosts after two applies: pyinfra itself leaves something behind on the first."""
    directory.mkdir()
    releases = directory / "release"
    for architecture in ("amd64", "arm64"):
        build_release(VERSION, architecture, "tar.zst", releases)
    for file in releases.iterdir():
        lab.registry.publish(file, f"{VERSION}/{file.name}")
    lab.registry.push_gguf("library/tiny", tiny_gguf(directory / "tiny.gguf"))
    fleet = FleetDirectory.new(
        directory / "fleet",
        {
            "version": 1,
            "release": {"version": VERSION, "source": f"{lab.registry.files_url}{VERSION}"},
            "defaults": {
                "listen": "0.0.0.0:11434",
                "env": {"OLLAMA_KEEP_ALIVE": -1},
                "firewall": {"allow_from": lab.cidrs("lan")},
                "ssh": {"user": "root", "key": str(lab.key), "known_hosts": str(lab.known_hosts)},
            },
            "registries": {lab.registry.host: {"insecure": True}},
            "models": {
                "reasoner": {
                    "from": f"{lab.registry.host}/library/tiny:latest",
                    "num_ctx": 512,
                    "num_gpu": 0,
                    "preload": True,
                }
            },
            "hosts": {host.name: {"address": host.address, "models": ["reasoner"]} for host in hosts},
        },
    )
    fleet.lock()
    for _ in range(2):
        run = fleet.apply()
        if run.code:
            raise SystemExit(str(run))
    return fleet


def sessions(hosts: Sequence[Host], act: Callable[[], None]) -> int:
    """The most sessions that one host's sshd opens meanwhile."""
    marks = {host.name: host.mark() for host in hosts}
    act()
    return max(len(host.ssh_sessions(since=marks[host.name])) for host in hosts)


def seconds(act: Callable[[], None]) -> tuple[float, float]:
    """Wall time, and processor time of the commands that were run."""
    begin, used = time.perf_counter(), processor_time()
    act()
    return time.perf_counter() - begin, processor_time() - used


def processor_time() -> float:
    """Of all ended children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_table(rows: Sequence[Row], rounds: int) -> None:
    """For people; the same as JSON on the last line."""
    print(f"\nNo-op apply against connect + one command, medians of {rounds} runs in turn")
    print(
        f"{'hosts':>5} {'execs/host':>11} {'floor execs':>12} {'apply s':>9} {'floor s':>9} {'ratio':>7}"
        f" {'apply CPU s':>13} {'floor CPU s':>13}"
    )
    for row in rows:
        figures = f"{row.apply:>9.2f} {row.floor:>9.2f} {row.ratio:>7.2f} {row.apply_cpu:>13.2f} {row.floor_cpu:>13.2f}"
        print(f"{row.hosts:>5} {row.execs:>11} {row.floor_execs:>12} {figures}")
    print(f"aim: {AIM} at {rows[-1].hosts} hosts: {'met' if rows[-1].ratio <= AIM else 'MISSED'}")
    print(json.dumps([{**vars(row), "ratio": round(row.ratio, 3)} for row in rows]))


if __name__ == "__main__":
    sys.exit(main())
