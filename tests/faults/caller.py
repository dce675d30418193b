"""A client of a host that never stops asking, so that it is known what an upgrade costs those who use it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Self

from lab.host import Host

PAUSE = 0.02
"""Seconds between two requests."""
PATIENCE = 2.0
"""Seconds that a request may take."""


@dataclass(frozen=True)
class Asked:
    """One request: when it was made, and the version that came back, or None for no answer."""

    at: float
    version: str | None


@dataclass
class Caller:
    """A context manager: within it, the host's `/api/version` is asked all the time."""

    host: Host
    name: str
    asked: list[Asked] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def lost(self) -> int:
        """Requests that were not answered."""
        return sum(one.version is None for one in self.asked)

    @property
    def outages(self) -> int:
        """How often the API was away, however long."""
        answered = [one.version is not None for one in self.asked]
        return sum(before and not now for before, now in pairwise(answered))

    @property
    def away(self) -> float:
        """Seconds from the last answer before an outage to the first one after it, the longest."""
        answers = [one.at for one in self.asked if one.version is not None]
        lost = [one.at for one in self.asked if one.version is None]
        gaps = [
            after - before
            for before, after in pairwise(answers)
            if any(before < moment < after for moment in lost)
        ]
        return max(gaps, default=0.0)

    @property
    def versions(self) -> list[str]:
        """Versions in the order in which they answered, each change once."""
        found: list[str] = []
        for one in self.asked:
            if one.version is not None and found[-1:] != [one.version]:
                found.append(one.version)
        return found

    def first(self, version: str) -> float:
        """When a version answered for the first time."""
        return next(one.at for one in self.asked if one.version == version)

    def last(self, version: str) -> float:
        """When a version answered for the last time."""
        return next(one.at for one in reversed(self.asked) if one.version == version)

    def report(self, say: Callable[[str], None], what: str) -> None:
        """Print what it has cost."""
        say(
            f"{what}: {self.name}: {self.lost} of {len(self.asked)} requests lost in {self.outages} outages, "
            f"{self.away:.2f} s at most; answered: {' → '.join(self.versions)}"
        )

    def _call(self) -> None:
        while not self._over.is_set():
            at = time.monotonic()
            connection = http.client.HTTPConnection(self.host.address, 11434, timeout=PATIENCE)
            version = None
            try:
                connection.request("GET", "/api/version")
                answer = connection.getresponse()
                if answer.status == 200:
                    version = str(json.loads(answer.read())["version"])
            except (OSError, http.client.HTTPException, ValueError):
                pass
            finally:
                connection.close()
            self.asked.append(Asked(at, version))
            self._over.wait(PAUSE)
