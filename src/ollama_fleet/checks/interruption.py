"""Ending work on a host in order when the run is interrupted.

pyinfra answers Ctrl-C by closing all connections and ending the process, and SIGTERM ends any process on the spot. Work
that has something to put in order is told first, while its connection still stands.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import gevent
from gevent.event import Event
from pyinfra import logger

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_at_work: dict[gevent.Greenlet[..., Any], Event] = {}
"""Who works, and what is set once all is in order there."""
_before: dict[int, Any] = {}
"""The handlers of the signals from before anybody worked."""
_ending = Event()
_answer: list[Callable[[int, FrameType | None], object]] = []
"""What the program that runs us does at Ctrl-C."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main program at Ctrl-C, whoever works just then.

    By itself Python raises it in the greenlet that runs at that moment; where that is a connection's, the connection
    dies of it and nobody else hears of the interruption.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt_main)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def answer_in_main_program() -> None:
    """Let the program that runs us answer Ctrl-C in its main greenlet, from here to the end of the process.

    pyinfra ends the process by SystemExit, which Python raises in whichever greenlet runs: a connection would die of
    it quietly, and the main program wait for that connection for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    if _answer or not callable(before) or before in (signal.default_int_handler, _interrupt_main):
        return
    _answer.append(before)
    signal.signal(signal.SIGINT, _answer_elsewhere)


def _answer_elsewhere(number: int, frame: FrameType | None) -> None:
    # gevent hands a SystemExit of any greenlet of its own on to the main program.
    gevent.spawn(_answer[0], number, frame)


def _interrupt_main(number: int, frame: FrameType | None) -> None:
    hub = gevent.get_hub()
    assert hub.parent is not None
    hub.loop.run_callback(hub.parent.throw, KeyboardInterrupt)


@contextmanager
def told_of_interruptions() -> Iterator[None]:
    """Raise GreenletExit inside at a signal that is to end the run; the run ends when all who work are through with it.

    A second signal raises it again, also where things are being put in order. Put it around everything that has to
    be left in order: it does not return before the run ends.
    """
    mine = gevent.getcurrent()
    if not isinstance(mine, gevent.Greenlet) or mine in _at_work:
        yield  # in the main program the signal's own exception arrives; inside another of these, the other sees to it
        return
    in_order = _at_work[mine] = Event()
    # Elsewhere than in the main thread nobody can.
    with suppress(ValueError):
        for number in SIGNALS:
            if number not in _before and signal.getsignal(number) != signal.SIG_IGN:
                _before[number] = signal.signal(number, _interrupted)
    try:
        yield
    except gevent.GreenletExit:
        in_order.set()
        while _ending.is_set():
            gevent.sleep(1)  # or the main program, which waits for this, would go on
        raise
    finally:
        in_order.set()
        del _at_work[mine]
        while not _at_work and _before:
            signal.signal(*_before.popitem())


def _interrupted(number: int, frame: FrameType | None) -> None:
    # The signal may come while nothing but the event loop runs, where nobody can wait.
    gevent.spawn(_end, number, frame, _before.get(number))


def _end(
    number: int, frame: FrameType | None, before: Callable[[int, FrameType | None], object] | int | None
) -> None:
    logger.warning("interrupted: putting back what was in memory; interrupt again to leave it")
    _ending.set()
    workers = dict(_at_work)
    gevent.killall(list(workers), block=False)
    gevent.wait(list(workers.values()))
    if before is _answer_elsewhere:
        before = _answer[0]
    # What ends the run: gevent hands it on to the main program.
    if callable(before) and before not in (signal.default_int_handler, _interrupt_main):
        before(number, frame)
    sys.exit(128 + number)
