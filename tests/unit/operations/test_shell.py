"""Pieces of shell, run by a real one."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.operations.shell import script, switch_link, write_file
from ollama_fleet.probe.shell import word, words

ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name
NAME = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 100)


def run(*lines: str, home: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home or "/nonexistent")}
    command = script(*lines).get_raw_value()
    return subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=environment)


@settings(max_examples=40, deadline=None)
@given(name=NAME, content=st.binary(max_size=300), mode=st.sampled_from([0o600, 0o644, 0o755]))
def test_file_is_written_byte_for_byte(name: str, content: bytes, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / name
        done = run(write_file(str(path), content, mode=mode, owner=ME, group=MINE))
        assert done.returncode == 0, done.stderr
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o7777 == mode
        assert os.listdir(path.parent) == [name]  # noqa: PTH208 - names that are no text, too


def test_file_that_others_read_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with path.open() as reader:
        assert run(write_file(str(path), b"new", mode=0o644, owner=ME, group=MINE)).returncode == 0
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_directory_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    done = run(write_file(str(tmp_path / "x"), b"new", mode=0o644, owner=ME, group=MINE))
    assert done.returncode != 0
    assert list((tmp_path / "x").iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(name=NAME, target=NAME)
def test_link_is_switched(name: str, target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        for goal in ("first", target):
            done = run(switch_link(str(path), goal))
            assert done.returncode == 0, done.stderr
            assert os.readlink(path) == goal  # noqa: PTH115 - Path would tidy it up


def test_link_to_a_directory_is_replaced_not_entered(tmp_path: Path) -> None:
    (tmp_path / "0.1").mkdir()
    (tmp_path / "current").symlink_to("0.1")
    assert run(switch_link(str(tmp_path / "current"), "0.2")).returncode == 0
    assert (tmp_path / "current").readlink() == Path("0.2")
    assert list((tmp_path / "0.1").iterdir()) == []


def test_script_stops_at_the_first_line_that_fails(tmp_path: Path) -> None:
    done = run("false", f"touch {tmp_path}/reached")
    assert done.returncode != 0
    assert not (tmp_path / "reached").exists()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_words_arrive_as_they_are(texts: list[str]) -> None:
    done = run(f"printf '%s\\0' {words(texts)}", home=Path("/home/of a user"))
    expected = [
        "/home/of a user" if text == "~" else f"/home/of a user/{text[2:]}" if text.startswith("~/") else text
        for text in texts
    ]
    assert done.stdout.decode().split("\0")[:-1] == expected


@pytest.mark.parametrize("text", ["~root/x", "~x", "a/~/b"])
def test_only_the_own_home_is_filled_in(text: str) -> None:
    assert run(f"printf %s {word(text)}").stdout.decode() == text
