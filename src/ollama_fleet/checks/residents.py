"""What is in memory, left as it was found: whatever a check loads goes again, and whatever it displaced comes back.

It holds also where the check is interrupted (Ctrl-C, SIGTERM, SIGHUP) or fails. A controller that is killed outright or
cut off can put nothing back: then `tether` does, on the host, and what was loaded leaves by itself after `STAY`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from pyinfra import logger

from ollama_fleet.api.client import STALL_TIMEOUT, LoadedModel, Ollama
from ollama_fleet.api.errors import ApiError, Unreachable
from ollama_fleet.checks.interruption import told_of_interruptions

STAY = "5m"
"""How long a model that a check loads stays, were nobody to take it out again."""
_FRACTION = re.compile(r"\.(\d{1,6})\d*")


class Residents:
    """The models that were in memory at a moment, and those loaded since.

    Args:
        server: the server.
        now: the host's clock at that moment, seconds since the epoch; the expiry times are by it.
        timeout: seconds that loading one of them again may take.
    """

    def __init__(self, server: Ollama, now: int, timeout: float = STALL_TIMEOUT) -> None:
        self._server = server
        self._timeout = timeout
        self.before = server.loaded()
        self._now = now
        self._read_at = time.monotonic()
        self._ours: dict[str, None] = {}
        self._over = False

    def find(self, name: str) -> LoadedModel | None:
        """A model that was in memory at that moment."""
        return next((model for model in self.before if model.name == name), None)

    def touch(self, name: str) -> None:
        """Say, before it is done, that a model is about to be loaded, unloaded or given another time to stay.

        Raises Unreachable once everything is being put back.
        """
        if self._over:
            raise Unreachable("interrupted")
        self._ours[name] = None

    def put_back(self) -> list[str]:
        """Make it as it was; returns what could not be done, one line each."""
        self._over = True
        if not self._ours:
            return []
        problems: list[str] = []
        if _names(self._server) is None:
            return ["what was in memory before could not be put back: the server does not answer"]
        for name in self._ours:
            if self.find(name) is None:
                problems += _told(partial(self._server.unload, name), f"{name} could not be unloaded")
        # What stays for ever comes last, so that nothing pushes it out.
        for model in sorted(self.before, key=lambda model: model.stays):
            there = _names(self._server) or {}
            same = model.name in there and there[model.name].context_length == model.context_length
            if not same or model.name in self._ours:
                problems += _told(partial(self._restore, model), f"{model.name} could not be loaded again")
        self._ours.clear()
        return problems

    def _restore(self, model: LoadedModel) -> None:
        keep_alive = self._left(model)
        if keep_alive == 0:
            self._server.unload(model.name)
            return
        self._server.load(model.name, keep_alive, timeout=self._timeout)
        now = (_names(self._server) or {}).get(model.name)
        if model.context_length and (now is None or now.context_length != model.context_length):
            # It had been asked for with a context of its own.
            options = {"num_ctx": model.context_length}
            self._server.load(model.name, keep_alive, options=options, timeout=self._timeout)

    def _left(self, model: LoadedModel) -> int | None:
        """Seconds that a model has left: -1 for ever, 0 if its time is over, None if nobody knows."""
        if model.stays:
            return -1
        expires = _epoch(model.expires_at)
        if expires is None or not self._now:
            return None
        return max(round(expires - self._now - (time.monotonic() - self._read_at)), 0)


@contextmanager
def as_before(
    server: Ollama, now: int, problems: list[str], timeout: float = STALL_TIMEOUT
) -> Iterator[Residents]:
    """Whatever is done inside, what is in memory is as before at the end; what could not be goes to `problems`.

    Raises ApiError where what is in memory cannot even be read.
    """
    residents = Residents(server, now, timeout)
    with told_of_interruptions():
        try:
            yield residents
            problems.extend(residents.put_back())
        except BaseException:  # also where it came while they were being put back
            left = residents.put_back()
            for problem in left:
                logger.error(problem)  # nobody else will tell
            problems.extend(left)
            raise


def _names(server: Ollama) -> dict[str, LoadedModel] | None:
    try:
        return {model.name: model for model in server.loaded()}
    except ApiError:
        return None


def _told(act: Callable[[], None], what: str) -> list[str]:
    try:
        act()
    except ApiError as error:
        return [f"{what}: {error}"]
    return []


def _epoch(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r".\1", text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
