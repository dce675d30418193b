"""`ollama-fleet drift` on 8 hosts that are as they should be, held against the floor: a connection and one command.

Real hosts, floor and drift in turn in one run. Needs root, for the lab.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from noop_apply import converged, floor, seconds, sessions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab import Lab

HOSTS = 8
INTERVAL = 300
"""Seconds between two runs of the timer in docs/gitops.md."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures, the same as JSON on the last line; a host that is not clean ends the run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=7, help="runs of each kind, one after the other in turn"
    )
    rounds = parser.parse_args(arguments).rounds
    reason = Lab.available()
    if reason is not None:
        print(f"drift: left out, since no lab can run here: {reason}")
        return 0
    with Lab.start("bench", say=print) as lab, tempfile.TemporaryDirectory() as temporary:
        hosts = lab.hosts([f"gpu-{number:02}" for number in range(1, HOSTS + 1)], firewall="nftables")
        fleet = converged(lab, hosts, Path(temporary) / "fleet")
        one_command = floor(lab, hosts, Path(temporary) / "floor")

        def drift() -> None:
            run = fleet.drift()
            if run.code:
                raise SystemExit(f"a fleet that was just applied drifts, or cannot be read:\n{run}")

        execs, floor_execs = sessions(hosts, drift), sessions(hosts, one_command)
        times = [(seconds(drift), seconds(one_command)) for _ in range(rounds)]
    (wall, cpu), (floor_wall, floor_cpu) = (
        [statistics.median(run[kind][which] for run in times) for which in (0, 1)] for kind in (0, 1)
    )
    print(f"\ndrift on {HOSTS} hosts against connect + one command, medians of {rounds} runs in turn")
    print(f"commands on each host, as its sshd counts them: {execs}, floor {floor_execs}")
    print(f"wall time: {wall:.2f} s, floor {floor_wall:.2f} s, ratio {wall / floor_wall:.2f}")
    print(f"processor time of the controller: {cpu:.2f} s, floor {floor_cpu:.2f} s")
    print(f"share of a timer that runs it every {INTERVAL} s: {wall / INTERVAL:.1%}")
    figures = {"hosts": HOSTS, "execs": execs, "floor_execs": floor_execs, "drift": wall, "floor": floor_wall}
    print(json.dumps({**figures, "ratio": round(wall / floor_wall, 3), "cpu": cpu, "floor_cpu": floor_cpu}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
