"""Fixtures: `windows_host`, a Windows host on loopback for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from windows.host import WindowsHost
from windows.wine import why_not


def require_wine(config: pytest.Config) -> None:
    """Skip where there is no Wine and none can be installed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    say = (lambda line: reporter.write_line(f"windows: {line}")) if reporter else (lambda line: None)
    if reason := why_not(say):
        pytest.skip(f"no Windows host: {reason}")


@pytest.fixture(scope="session")
def windows_host(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WindowsHost]:
    """A host with nothing on it."""
    require_wine(pytestconfig)
    host = WindowsHost.start(tmp_path_factory.mktemp("windows"))
    yield host
    host.remove()
    assert host.process.returncode is not None
