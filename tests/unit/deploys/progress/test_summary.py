"""What is said at the end, and what it tells people to do."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ollama_fleet.deploys.progress.board import Board
from ollama_fleet.deploys.progress.invocation import Invocation
from ollama_fleet.deploys.progress.log_file import KEPT, LogFile
from ollama_fleet.deploys.progress.next_command import Failed, next_command
from ollama_fleet.deploys.progress.summary import Line, summary

APPLY = Invocation("inventory/hosts.py", ("deploy.py",), yes=True)
AGAIN = "pyinfra -y inventory/hosts.py deploy.py"


@pytest.mark.parametrize(
    ("operation", "reason", "command"),
    [
        ("", "Could not connect (timed out)", "ollama-fleet doctor gpu-01"),
        ("", "Authentication error: no valid authentication available", "ollama-fleet doctor gpu-01"),
        (
            "",
            "sudo asks for a password, and there is no terminal to type it at",
            "ollama-fleet doctor gpu-01",
        ),
        (
            "Rollout",
            "pull m: m came with digest a, locked is b; run `ollama-fleet lock --update m` and commit fleet.lock",
            "ollama-fleet lock --update m",
        ),
        (
            "Rollout",
            "pull m: the connection to the host broke off; run again to go on from here",
            f"{AGAIN} --limit gpu-01",
        ),
        ("Rollout", "rollout: rollout stopped: gpu-02 failed; this host is left as it was", AGAIN),
        ("Lock", "lock: another apply is at work here: root@ci, process 7; wait until it has ended", AGAIN),
        (
            "Rollout",
            "gate: small: it runs on the CPU, planned are 33 layers",
            "ollama-fleet plan --explain gpu-01",
        ),
        ("Rollout", "load m: CUDA error: out of memory", "ollama-fleet plan --explain gpu-01"),
        ("Proof", "proof: port 11434 is open to 10.0.0.9", "ollama-fleet verify gpu-01"),
        ("Release", "", f"{AGAIN} --limit gpu-01"),
    ],
)
def test_next_command(operation: str, reason: str, command: str) -> None:
    assert next_command(Failed(("gpu-01",), ("gpu-01",), operation, reason), APPLY) == command


def test_names_that_a_shell_would_take_apart_are_quoted() -> None:
    failed = Failed(("a b",), ("@local",), "Release", "no room")
    assert next_command(failed, APPLY) == f"{AGAIN} --limit @local"
    assert Invocation("my hosts.py", ("deploy.py",), yes=False).again() == "pyinfra 'my hosts.py' deploy.py"


def board_with(well: int, failed: dict[str, str]) -> Board:
    board = Board(lambda: 100.0)
    for number in range(well):
        board.enters(f"good-{number}", "Outcome")
        board.leaves(f"good-{number}", through=True)
    for host, reason in failed.items():
        board.enters(host, "Rollout")
        board.fails(host, reason)
    board.starts("Outcome", 9, 9)
    return board


def told(board: Board, *, proven: bool = False) -> list[str]:
    return [line.wrapped(None)[0] for line in summary(board, APPLY, {}, proven=proven)]


def test_each_failure_has_host_step_reason_and_command() -> None:
    board = board_with(2, {"gpu-02": "pull m: no space left on device"})
    assert told(board) == [
        "2 of 3 hosts are as fleet.yaml asks, 1 failed (0 s)",
        "  gpu-02 failed at Rollout: pull m: no space left on device",
        f"    next: {AGAIN} --limit gpu-02",
    ]


def test_hosts_that_failed_alike_are_told_together() -> None:
    stopped = "rollout: rollout stopped: gpu-01 failed; this host is left as it was"
    board = board_with(
        0, {"gpu-01": "gate: boom", **{f"gpu-{number:02}": stopped for number in range(2, 50)}}
    )
    assert told(board) == [
        "0 of 49 hosts are as fleet.yaml asks, 49 failed (0 s)",
        "  gpu-01 failed at Rollout: gate: boom",
        f"    next: {AGAIN} --limit gpu-01",
        f"  gpu-02, gpu-03, gpu-04, gpu-05, gpu-06, gpu-07 and 42 more failed at Rollout: {stopped}",
        f"    next: {AGAIN}",
    ]


def test_an_apply_that_was_broken_off() -> None:
    board = board_with(1, {})
    board.enters("gpu-09", "Rollout")
    board.begin(Named("gpu-09"), "pulling m")
    assert told(board) == [
        "1 of 2 hosts are as fleet.yaml asks, 1 was not brought to an end (0 s)",
        "  at work when it ended: gpu-09 (pulling m); the next apply goes on from there",
        f"    next: {AGAIN}",
    ]


def test_what_is_proven_of_a_few_hosts_is_told() -> None:
    board = board_with(1, {})
    board.conclude(Named("good-0"), "Ollama 0.24.0 on loopback only: small")
    assert told(board, proven=True)[1:] == ["  good-0: Ollama 0.24.0 on loopback only: small"]
    assert len(told(board_with(11, {}), proven=True)) == 1


class Named:
    """A host, as far as it is asked."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize("width", [20, 40, 76])
def test_lines_are_wrapped_and_lose_nothing(width: int) -> None:
    line = Line(
        "gpu-02 failed at Rollout: pull hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B: no space", "", 2
    )
    wrapped = line.wrapped(width)
    assert all(len(part) <= width for part in wrapped)
    assert "".join("".join(wrapped).split()) == "".join(line.text.split())


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogFile:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return LogFile()


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("pyinfra", level, __file__, 1, text, None, None)


def test_the_log_has_everything_and_no_secret(log: LogFile) -> None:
    log.emit(record("\x1b[0m[\x1b[1mgpu-01\x1b[0m]   Connected"))
    log.emit(record("[gpu-01] the key is hunter22"))
    log.hide(["hunter22", ""])
    assert log.path is None
    log.open()
    log.emit(record("[gpu-01]  pull m: hunter22 was refused", logging.ERROR))
    log.emit(record("[gpu-01]  Error: executed 3 commands", logging.ERROR))
    assert log.path is not None
    written = [line.split(maxsplit=2)[1:] for line in log.path.read_text().splitlines()]
    assert written == [
        ["INFO", "[gpu-01]   Connected"],
        ["INFO", "[gpu-01] the key is ***"],
        ["ERROR", "[gpu-01]  pull m: *** was refused"],
        ["ERROR", "[gpu-01]  Error: executed 3 commands"],
    ]
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert log.error_of("gpu-01") == "pull m: *** was refused"
    assert log.error_of("gpu-02") == ""


def test_old_logs_go(log: LogFile, tmp_path: Path) -> None:
    folder = tmp_path / "ollama-fleet" / "log"
    folder.mkdir(parents=True)
    for number in range(KEPT + 5):
        (folder / f"2020{number:04}.log").write_text("")
    log.open()
    left = sorted(path.name for path in folder.iterdir())
    assert len(left) == KEPT
    assert left[-1] == log.path.name if log.path else False


def test_a_log_that_cannot_be_written_stops_nothing(log: LogFile, tmp_path: Path) -> None:
    (tmp_path / "ollama-fleet").write_text("a file where a folder should be")
    log.open()
    log.emit(record("[gpu-01] Connected"))
    assert log.path is None
    assert "ollama-fleet/log: " in log.trouble
