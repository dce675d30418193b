"""pytest fixtures for tests on real hosts: `lab` for the whole run, `new_host` for a host of one test.

Load it with `pytest_plugins = ["lab.fixtures"]` in tests/conftest.py. Where no lab can run, tests that use it are
skipped and the summary says how many and why; with OLLAMA_FLEET_LAB=require that is a failure instead.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Protocol, Unpack

import pytest

from .host import Host
from .laboratory import Lab
from .outfit import HostOptions

_numbers = itertools.count(1)


class BootHost(Protocol):
    """`new_host(**options)`: a host of a name of its own, gone after the test; options as for `Lab.host`."""

    def __call__(self, **options: Unpack[HostOptions]) -> Host: ...


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The lab of this test run: networks, clients, registry, and no hosts yet."""
    reason = Lab.available()
    if reason is not None:
        if os.environ.get("OLLAMA_FLEET_LAB") == "require":
            pytest.fail(f"OLLAMA_FLEET_LAB=require, but {reason}")
        pytest.skip(f"no lab: {reason}")
    with Lab.start("tests", say=_teller(pytestconfig)) as running:
        yield running


@pytest.fixture
def new_host(lab: Lab) -> Iterator[BootHost]:
    """Boots fresh hosts for one test; they are removed when it is over."""
    booted: list[Host] = []

    def boot(**options: Unpack[HostOptions]) -> Host:
        booted.append(lab.host(f"extra-{next(_numbers)}", **options))
        return booted[-1]

    yield boot
    for host in booted:
        lab.remove(host)


def _teller(config: pytest.Config) -> Callable[[str], None]:
    """Past pytest's capture: building an image takes a minute, and silence looks like hanging."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def say(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"lab: {line}")

    return say
