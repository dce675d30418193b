"""The board in windows of all sizes, with one host and with many."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ollama_fleet.deploys.progress.board import Board
from ollama_fleet.deploys.progress.view import view

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class At:
    name: str


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def lines(board: Board, width: int = 120, height: int = 30) -> list[str]:
    return view(board, width, height).plain.splitlines()


def board_of(count: int) -> tuple[Board, Clock, list[At]]:
    clock = Clock()
    board = Board(clock)
    hosts = [At(f"gpu-{number:02}") for number in range(1, count + 1)]
    board.names(host.name for host in hosts)
    board.starts("Rollout", 5, 9)
    for host in hosts:
        board.enters(host.name, "Rollout")
    return board, clock, hosts


def bring(board: Board, clock: Clock, host: At, *, there: int, rate: int, seconds: int, size: int) -> None:
    """Pull a model for some seconds, from what is there on."""
    board.expect(host, "deepseek-r1:32b", size)
    board.begin(host, "pulling deepseek-r1:32b")
    begin = clock.now
    for second in range(seconds + 1):
        clock.now = begin + second
        completed = there + rate * second
        board.transfer(host, "deepseek-r1:32b", "pulling 6150cb382311", "sha256:6150", completed, size)


def test_one_host() -> None:
    board, clock, (host,) = board_of(1)
    bring(board, clock, host, there=4 * GIB, rate=100 * MIB, seconds=10, size=20 * GIB)
    assert lines(board) == [
        "Rollout (5 of 9)  1 host: 1 at work  10 s  5.0 GiB of 20.0 GiB  100.0 MiB/s  2 min 34 s left",
        "gpu-01  pulling deepseek-r1:32b  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  24%  5.0 GiB of 20.0 GiB  100.0 MiB/s  "
        "2 min 34 s left",
    ]


def test_narrow_windows_keep_what_matters() -> None:
    board, clock, (host,) = board_of(1)
    bring(board, clock, host, there=0, rate=100 * MIB, seconds=10, size=20 * GIB)
    assert lines(board, 80) == [
        "Rollout (5 of 9)  1 host: 1 at work",
        "10 s  1000.0 MiB of 20.0 GiB  100.0 MiB/s  3 min 15 s left",
        "gpu-01  pulling deepseek-r1:32b  4%  1000.0 MiB of 20.0 GiB  3 min 15 s left",
    ]
    assert lines(board, 50)[-1] == "gpu-01  pulling de…eek-r1:32b  4%  3 min 15 s left"


def test_steps_without_bytes_show_how_long_they_last() -> None:
    board, clock, (host,) = board_of(1)
    board.begin(host, "loading reasoner")
    clock.now = 75
    assert lines(board)[1:] == ["gpu-01  loading reasoner  1 min 15 s"]


def test_while_the_server_checks_what_came() -> None:
    board, clock, (host,) = board_of(1)
    bring(board, clock, host, there=0, rate=GIB, seconds=20, size=20 * GIB)
    board.transfer(host, "deepseek-r1:32b", "verifying sha256 digest", "", 0, 0)
    assert lines(board)[1:] == ["gpu-01  pulling deepseek-r1:32b, verifying sha256 digest  20 s"]


def test_fifty_hosts_fit_into_the_window() -> None:
    board, clock, hosts = board_of(50)
    for number, host in enumerate(hosts):
        clock.now = 0
        if number < 12:
            bring(board, clock, host, there=0, rate=10 * MIB, seconds=20, size=10 * GIB)
        elif number < 40:
            board.leaves(host.name, through=False)
        elif number < 42:
            board.fails(host.name, "pull deepseek-r1:32b: the connection to the host broke off")
    clock.now = 20
    shown = lines(board, 120, 30)
    assert shown[0].startswith(
        "Rollout (5 of 9)  50 hosts: 20 at work, 28 waiting, 2 failed  20 s  2.3 GiB of 120.0 GiB"
    )
    assert [line.split()[0] for line in shown[1:]] == [
        *(f"gpu-{number:02}" for number in [*range(1, 13), *range(43, 51), 41, 42])
    ]
    assert shown[-1] == "gpu-42  failed: pull deepseek-r1:32b: the connection to the host broke off"

    few = lines(board, 120, 10)
    assert len(few) == 10
    assert few[-1] == "and 14 more at work"
    assert [line.split()[0] for line in few[1:-1]] == [
        *(f"gpu-{n:02}" for n in range(1, 7)),
        "gpu-41",
        "gpu-42",
    ]


def test_the_sum_is_that_of_all_hosts() -> None:
    board, clock, hosts = board_of(3)
    for host in hosts[:2]:
        clock.now = 0
        bring(board, clock, host, there=2 * GIB, rate=64 * MIB, seconds=16, size=10 * GIB)
    board.expect(hosts[2], "deepseek-r1:32b", 10 * GIB)
    # 14 GiB of the two, and ten that have not begun, at the rate of both together.
    assert "6.0 GiB of 30.0 GiB  128.0 MiB/s  3 min 12 s left" in lines(board)[0]
    board.complete(hosts[0], "deepseek-r1:32b")
    assert "13.0 GiB of 30.0 GiB  64.0 MiB/s" in lines(board)[0]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40)


@given(
    hosts=st.lists(
        st.tuples(
            NAMES, st.sampled_from(["pull", "load", "fail", "left", "full"]), st.integers(0, 1 << 45), NAMES
        ),
        max_size=70,
    ),
    width=st.integers(1, 250),
    height=st.integers(1, 60),
)
def test_any_window(hosts: list[tuple[str, str, int, str]], width: int, height: int) -> None:
    """No line is longer than the window is wide, and there are never more of them than it has."""
    clock = Clock()
    board = Board(clock)
    board.starts("Rollout", 1, 2)
    for name, what, size, doing in hosts:
        host = At(name)
        board.enters(name, "Rollout")
        if what in ("pull", "full"):
            completed = size if what == "full" else size // 3
            board.begin(host, f"pulling {doing}")
            board.transfer(host, doing, "pulling 1", "1", 0, size)
            clock.now += 2
            board.transfer(host, doing, "pulling 1", "1", completed, size)
        elif what == "load":
            board.begin(host, doing)
        elif what == "fail":
            board.fails(name, doing)
        else:
            board.leaves(name, through=True)
    shown = view(board, width, height).plain.split("\n")
    assert len(shown) <= height
    assert all(cell_len(line) <= width for line in shown)


@pytest.mark.parametrize("count", [1, 49])
def test_who_waits_is_only_counted(count: int) -> None:
    board, _, hosts = board_of(50)
    for host in hosts[count:]:
        board.leaves(host.name, through=False)
    assert len(lines(board, 120, 100)) == 1 + count
    assert f"{count} at work, {50 - count} waiting" in lines(board)[0]
