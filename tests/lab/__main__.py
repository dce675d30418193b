"""The lab as a command: `python -m lab up [N] | status | shell HOST | down [SLOT]`.

`up` leaves a lab running in the background; `down` ends every such lab and sweeps what dead ones left. Labs that tests
are running are shown by `status` and left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

from . import cleanup, firewall, gpus
from .container import Container
from .laboratory import Lab
from .outfit import HostOptions
from .process import LabError
from .slot import COUNT, Slot, all_slots
from .tether import sweep


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 1 with one line on stderr where it fails."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start a lab in the background")
    up.add_argument("count", nargs="?", type=int, default=2, help="how many hosts (default 2)")
    up.add_argument("--firewall", choices=[*firewall.FIREWALLS, "mixed", "none"], default="mixed")
    up.add_argument(
        "--gpu", action="append", choices=gpus.recordings(), help="a GPU for every host; repeat for more"
    )
    verbs.add_parser("status", help="what is running")
    shell = verbs.add_parser("shell", help="a root shell on a host")
    shell.add_argument("host")
    down = verbs.add_parser("down", help="end the labs that `up` started, and sweep the remains of dead ones")
    down.add_argument("slot", nargs="?", type=int, choices=range(COUNT), help="only this one")
    options = parser.parse_args(arguments)
    try:
        match options.verb:
            case "up":
                return _up(options.count, options.firewall, options.gpu or [])
            case "status":
                return _status()
            case "shell":
                return _shell(options.host)
            case _:
                return _down([Slot(options.slot)] if options.slot is not None else all_slots())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _up(count: int, wall: str, cards: list[str]) -> int:
    wanted: dict[str, HostOptions] = {}
    for number in range(count):
        kind = firewall.FIREWALLS[number % len(firewall.FIREWALLS)] if wall == "mixed" else wall
        wanted[f"gpu-{number + 1:02}"] = {
            "firewall": None if kind == "none" else cast("firewall.Firewall", kind),
            "gpus": cards,
        }
    lab = Lab.start("up", say=print)
    try:
        lab.hosts(wanted)
        lab.keep()
    except BaseException:
        lab.stop()
        raise
    _describe(lab.slot)
    print(f"try: {' '.join(lab.all_hosts[0].ssh_command())}" if count else "no hosts")
    sys.stdout.flush()
    # Past the interpreter's goodbye: it would complain of the child processes that stay on purpose.
    os._exit(0)


def _status() -> int:
    running = [slot for slot in all_slots() if _is_running(slot)]
    for slot in running:
        _describe(slot)
    for slot in all_slots():
        if slot not in running and cleanup.remnants(slot):
            print(f"lab {slot.number}: dead; `python -m lab down` removes what is left")
    if not running:
        print("no lab is running")
    return 0


def _describe(slot: Slot) -> None:
    state = _state(slot)
    how = "kept until `down`" if slot.kept_path.exists() else "ends with the process that started it"
    print(f"lab {slot.number} ({state.get('name', 'starting')}): {slot.directory}, {how}")
    print(f"  registry  {state.get('registry', '-')}")
    for name, host in state.get("hosts", {}).items():
        power = "up" if _is_process(host["leader"]) else "off"
        wall = host["firewall"] or "no firewall"
        print(f"  {name:<9} {host['address']:<15} {host['address6']:<26} {wall:<11} {power}")


def _shell(name: str) -> int:
    for slot in all_slots():
        host = _state(slot).get("hosts", {}).get(name)
        if host is not None and _is_process(host["leader"]):
            command = [
                *Container(slot, name).enter(pid=host["leader"]),
                f"TERM={os.environ.get('TERM', 'dumb')}",
            ]
            os.execvp(command[0], [*command, "bash", "-l"])
    raise LabError(f"no running host {name}; see `python -m lab status`")


def _down(slots: list[Slot]) -> int:
    for slot in slots:
        if not (_is_running(slot) and slot.kept_path.exists()):
            continue
        os.kill(int(slot.keeper_path.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while _is_running(slot):
            if time.monotonic() > deadline:
                raise LabError(f"lab {slot.number} does not end")
            time.sleep(0.02)
        print(f"lab {slot.number} is gone")
    for number in sweep():
        print(f"swept the remains of lab {number}")
    return 0


def _is_running(slot: Slot) -> bool:
    if not slot.lock_path.exists():
        return False
    lock = slot.lock()
    if lock is None:
        return True
    os.close(lock)
    return False


def _state(slot: Slot) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((slot.directory / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _is_process(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    sys.exit(main())
