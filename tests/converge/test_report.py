"""The page of real hosts: as planned after an apply, and what differs after a change by hand."""

from __future__ import annotations

import re

import pytest

from converge.conftest import Rack

pytestmark = pytest.mark.lab


def test_live(rack: Rack) -> None:
    again = rack.fleet.apply()  # whatever another test has left
    assert again.code == 0, str(again)

    def page() -> str:
        done = rack.fleet.run("ollama-fleet", "report", "--live")
        assert done.code == 0, str(done)
        return (rack.fleet.path / "report.html").read_text(encoding="utf-8")

    assert page().count("As planned: an apply would change nothing.") == 2
    rack.one.run("systemctl stop ollama")
    try:
        text = page()
        assert text.count("As planned: an apply would change nothing.") == 1
        assert re.findall(
            r"<tr><td>service ollama</td><td>running</td><td>(\w+)</td><td>(\w+)</td></tr>", text
        ) == [("inactive", "active")]
    finally:
        assert rack.fleet.apply().code == 0  # with the models in memory again
