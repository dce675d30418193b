"""Following an apply from its inventory to its last line: what pyinfra calls back, and what it logs."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_state

from ollama_fleet.checks.interruption import answer_in_main_program
from ollama_fleet.deploys.progress.board import Board
from ollama_fleet.deploys.progress.invocation import Invocation
from ollama_fleet.deploys.progress.log_file import LogFile
from ollama_fleet.deploys.progress.no_color import respect_no_color
from ollama_fleet.deploys.progress.summary import Line, summary
from ollama_fleet.operations.context import failure_of
from ollama_fleet.operations.observer import observe

if TYPE_CHECKING:
    from ollama_fleet.deploys.progress.screen import Screen

MARGIN = 4
"""Columns that pyinfra puts before what it logs."""


class Following(BaseStateCallback):
    """One apply. pyinfra calls the methods that are named as its own."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.board = Board()
        self.log = LogFile()
        self.screen: Screen | None = None
        self._order: list[str] = []
        self._in_turn = False
        """All hosts do one operation after the other; with `--serial` or `--no-wait` each goes through all of them."""

    def follow(self, state: State) -> None:
        """Listen to a run; once is enough."""
        if self in state.callback_handlers:
            return
        state.add_callback_handler(self)  # type: ignore[no-untyped-call]
        observe(state, self.board)
        if _has_terminal():
            from ollama_fleet.deploys.progress.screen import Screen  # rich takes a while to import

            everything = state.print_noop_info or logger.isEnabledFor(logging.DEBUG)
            self.screen = Screen(self.board, everything=everything)
            self._pause_for_questions(state, self.screen)

    def finish(self) -> None:
        """Say at the end of the process how it went."""
        if self.screen is not None:
            self.screen.stop()
        state: State | None = ctx_state.get()  # type: ignore[no-untyped-call]
        if state is None or not state.initialised:
            return
        self._take_in_hosts(state)
        if self.board.begun is None and not self.board.failed:
            return  # nobody wanted it to begin
        self.log.open()
        names = {host.name: str(host.data.get("ollama_fleet_host", host.name)) for host in state.inventory}
        logger.info("--> Summary:")
        for line in summary(self.board, self.invocation, names, proven=self.screen is not None):
            self._say(line)
        if self.log.path is not None:
            self._say(Line(f"log: {_from_home(str(self.log.path))}", is_whole=True))
        elif self.log.trouble:
            self._say(Line(f"no log was written: {self.log.trouble}", "yellow"))

    # -- what pyinfra calls ------------------------------------------------------------------------

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        """The next operation, on all hosts."""
        self._in_turn = True
        self._start(state, op_hash)

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        """An operation on a host; pyinfra also calls for those that a host does not have."""
        if op_hash not in state.ops[host]:
            return
        if not self._in_turn:
            self._start(state, op_hash)
        self.board.enters(host.name, _name(state, op_hash))

    def operation_host_success(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0
    ) -> None:
        """It went well."""
        self.board.leaves(host.name, through=op_hash == host.op_hash_order[-1])
        self._stop_if_over()

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """It failed."""
        self.board.fails(host.name, failure_of(host) or self.log.error_of(host.name))
        self._stop_if_over()

    # ----------------------------------------------------------------------------------------------

    def _start(self, state: State, op_hash: str) -> None:
        if not self._order:
            self._order = list(state.get_op_order())  # type: ignore[no-untyped-call]
            self.log.open()
        self._take_in_hosts(state)
        self.board.starts(_name(state, op_hash), self._order.index(op_hash) + 1, len(self._order))
        if self.screen is not None and not self.board.is_over:
            self.screen.start()

    def _stop_if_over(self) -> None:
        """What pyinfra says after the last operation, it says as usual."""
        if self.board.is_over and self.screen is not None:
            self.screen.stop()

    def _take_in_hosts(self, state: State) -> None:
        """Those in the run, and those that have failed elsewhere than in an operation."""
        self.board.names(host.name for host in state.inventory if state.is_host_in_limit(host))
        for host in state.failed_hosts:
            if self.board.hosts[host.name].failure is None:
                self.board.fails(host.name, self.log.error_of(host.name))

    def _say(self, line: Line) -> None:
        width = os.get_terminal_size(sys.stderr.fileno()).columns - MARGIN if sys.stderr.isatty() else None
        for text in line.wrapped(width):
            logger.info(format_text(text, fg=line.colour) if line.colour else text)

    def _pause_for_questions(self, state: State, screen: Screen) -> None:
        """pyinfra asks whether to go on after a failure, unless it was told not to ask."""
        if (ask := state.should_raise_failed_hosts) is None:
            return

        def asked(about: State) -> bool:
            with screen.paused():
                return ask(about)

        state.should_raise_failed_hosts = asked


_following: Following | None = None


def follow_apply() -> None:
    """Follow the apply that is running, from here to the end of the process; nothing else is followed."""
    global _following  # noqa: PLW0603  # a process runs one command
    if _following is not None or (invocation := Invocation.current()) is None:
        return
    _following = Following(invocation)
    respect_no_color()
    answer_in_main_program()
    logger.addHandler(_following.log)
    atexit.register(_following.finish)


def follow_host(host: Host) -> None:
    """Follow what the run does to a host."""
    if _following is not None:
        _following.follow(host.state)


def keep_from_log(secrets: Iterable[str]) -> None:
    """Never write these values."""
    if _following is not None:
        _following.log.hide(secrets)


def _has_terminal() -> bool:
    """Whether there is one to draw on; pyinfra logs to standard error."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _name(state: State, op_hash: str) -> str:
    return ", ".join(sorted(name.rpartition(" | ")[2] for name in state.get_op_meta(op_hash).names))


def _from_home(path: str) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111  # a string with nothing else changed
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path
