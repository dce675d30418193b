"""Ctrl-C while a connection's greenlet is at work, which would die of it and tell nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, os, signal
import pyinfra_cli
import gevent
from ollama_fleet.checks.interruption import interruptible

def connection():
    while True:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))
            gevent.sleep(1)
        except KeyboardInterrupt:
            gevent.sleep(1)

try:
    with {around}:
        gevent.joinall([gevent.spawn(connection)], timeout=2)
except KeyboardInterrupt:
    print("told")
"""


@pytest.mark.parametrize(
    ("around", "said"), [("interruptible()", "told\n"), ("contextlib.nullcontext()", "")]
)
def test_the_main_program_hears_of_it(around: str, said: str) -> None:
    script = SCRIPT.format(around=around)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (said, "")
