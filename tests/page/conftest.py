"""One browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from page.browser import Browser, NoBrowser, axe_core, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, or a skipped test."""
    try:
        with chromium() as running:
            yield running
    except NoBrowser as reason:
        pytest.skip(f"no browser: {reason}")


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The checker of accessibility, or a skipped test."""
    assert pytestconfig.cache is not None
    try:
        return axe_core(Path(pytestconfig.cache.mkdir("axe-core")))
    except NoBrowser as reason:
        pytest.skip(f"no axe-core: {reason}")
