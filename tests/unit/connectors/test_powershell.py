"""Values in scripts arrive as they are, and no value is ever more than a value."""

from __future__ import annotations

import base64
import re
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.connectors.powershell import ERROR, LONGEST_LINE, command_line, framed, readable
from ollama_fleet.connectors.windows import sftp_path
from ollama_fleet.planner.windows.quoting import array, literal
from windows import dotnet
from windows.powershell import Interpreter, parse
from windows.values import Exited, NotModelledError, ThrownError

HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("'\"‘’‚‛“”`$%;&|<>(){}[]@#^!~*?\\/\n\r\t ,.:=-+aZ0模型")),
        st.characters(codec="utf-8"),
    ),
    max_size=40,
)


class Nothing:
    """A machine on which nothing can be run."""

    def command(self, interpreter: Any, name: str, *_: Any) -> list[Any]:
        assert name == "New-Object", f"{name} was executed"
        return [None]

    def static(self, interpreter: Any, kind: str, name: str, arguments: Any) -> Any:
        return dotnet.KNOWN[f"{kind.lower()}.{name.lower()}"](self, interpreter, *(arguments or []))

    def construct(self, kind: str, arguments: list[Any]) -> Any:
        raise NotModelledError(kind)


def run(script: str, stdin: str = "") -> list[Any]:
    return Interpreter(Nothing(), StringIO(stdin), lambda _: None).run(script)


@given(HOSTILE)
def test_a_value_arrives_or_is_refused(value: str) -> None:
    try:
        quoted = literal(value)
    except ValueError:
        assert "\0" in value
        return
    assert run(quoted) == [value]


@given(st.lists(HOSTILE.filter(lambda text: "\0" not in text), min_size=1, max_size=5))
def test_an_array_arrives(values: list[str]) -> None:
    assert run(f"$x = {array(values)}\n$x") == values


@given(HOSTILE.filter(lambda text: "\0" not in text))
def test_every_frame_parses(value: str) -> None:
    parse(framed(f"$value = {literal(value)}"))


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_windows_string_holds_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        literal(value)


@given(st.integers(min_value=0, max_value=20000))
def test_any_length_gets_through_on_a_line_of_plain_characters(length: int) -> None:
    script = "'" + "x" * length + "'"
    line, stdin = command_line(script)
    assert re.fullmatch(r"[A-Za-z0-9.+/= -]+", line)
    assert len(line) <= LONGEST_LINE
    encoded = line.rpartition(" ")[2]
    assert run(base64.b64decode(encoded).decode("utf-16-le"), stdin) == [script[1:-1]]


def test_an_error_is_told_in_its_own_letters() -> None:
    told: list[str] = []
    interpreter = Interpreter(Nothing(), StringIO(), told.append)
    with pytest.raises(Exited, match="1"):
        interpreter.run(framed("throw '没有 D: 盘'"))
    assert [readable(line) for line in told] == ["没有 D: 盘"]


def test_other_lines_of_errors() -> None:
    assert readable("plain") == "plain"
    assert readable("#< CLIXML") is None
    assert readable(ERROR + "???") == ERROR + "???"


def test_no_catch_hides_what_is_not_known() -> None:
    with pytest.raises(NotModelledError):
        run("try { 'a' -match 'b' } catch { 'hidden' }")
    with pytest.raises(ThrownError):
        run("throw 'x'")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("D:\\Models\\a b\\模型", "/D:/Models/a b/模型"),
        ("c:/x", "/c:/x"),
        ("relative.txt", "relative.txt"),
    ],
)
def test_paths_for_uploads(path: str, sent: str) -> None:
    assert sftp_path(path) == sent
