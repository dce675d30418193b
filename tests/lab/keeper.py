"""The process that lives as long as its lab and takes it down: `python3 -m lab.keeper SLOT`.

It holds the slot's lock, which is what it means for a lab to be alive. The starter keeps the other end of its
standard input: end of file means that the starter is gone, by `stop()` or by kill -9, and the lab goes with
it. After the word `keep` the lab stays until the keeper gets SIGTERM (`python3 -m lab down`). Should the
keeper itself be killed, the lock is free and the next lab to look at the slot sweeps it first.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from . import cleanup
from .process import LabError
from .slot import Slot


class _StopRequested(Exception):
    pass


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _StopRequested


def main(arguments: list[str]) -> int:
    """Guard the slot named by the first argument. Exit status 3: a living lab has it."""
    slot = Slot(int(arguments[0]))
    # Ctrl-C reaches the whole foreground group; the starter decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lock = slot.lock()
    if lock is None:
        return 3
    try:
        cleanup.remove(slot)
        slot.directory.mkdir(mode=0o700, parents=True)
        slot.keeper_path.write_text(f"{os.getpid()}\n")
        signal.signal(signal.SIGTERM, _stop)
        print("ready", flush=True)
        _wait(slot)
    except _StopRequested:
        pass
    except LabError as error:
        print(error, flush=True)
        return 1
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        cleanup.remove(slot)
    except LabError as error:
        with suppress(BrokenPipeError):
            print(error, flush=True)
        return 1
    return 0


def _wait(slot: Slot) -> None:
    """Return when the starter is gone; after `keep`, only SIGTERM ends the waiting."""
    for line in sys.stdin:
        if line.strip() == "keep":
            slot.kept_path.touch()
            while True:
                signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
