"""The version out of what `ollama --version` prints."""

from __future__ import annotations

import pytest

from ollama_fleet.probe.sections.release import version_in


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("ollama version is 0.24.0 ", "0.24.0"),
        (
            "Warning: could not connect to a running Ollama instance Warning: client version is 0.11.4 ",
            "0.11.4",
        ),
        ("ollama version is 0.24.0 Warning: client version is 0.32.15 ", "0.32.15"),
        ("ollama version is 0.30.0-rc1 ", "0.30.0-rc1"),
        ("Segmentation fault ", None),
        ("", None),
    ],
)
def test_own_version_of_the_binary(printed: str, version: str | None) -> None:
    assert version_in(printed) == version
