"""A board on the terminal while operations run: drawn anew in place, with what goes wrong as lines above it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import gevent
from pyinfra import logger
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from ollama_fleet.deploys.progress.board import Board
from ollama_fleet.deploys.progress.log_file import LogFile, is_own_word, uncoloured
from ollama_fleet.deploys.progress.view import view

REDRAWN_EVERY = 0.25
"""Seconds."""


class Screen:
    """Draws a board on standard error, as often as somebody can look, in a greenlet of its own.

    Meanwhile pyinfra's lines of what went well only go to the log file, and its own spinner is off: two would write
    over each other. All else that is written comes above the board and stays.
    """

    def __init__(self, board: Board, *, everything: bool = False) -> None:
        self.board = board
        self.everything = everything
        """Somebody wants to see all of pyinfra's lines (`-v`, `--debug`)."""
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._live: Live | None = None
        self._quiet = _Quiet(self)
        self._written_to: dict[str, TextIO] = {}
        """Of `sys`: what our own stands for meanwhile."""
        os.environ["PYINFRA_PROGRESS"] = "off"

    @property
    def is_on(self) -> bool:
        """It is being drawn."""
        return self._live is not None

    def start(self) -> None:
        """Begin to draw."""
        if self._live is not None:
            return
        self._live = Live(
            get_renderable=self._drawn,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        for name in self._to_redirect():
            self._written_to[name] = getattr(sys, name)
            setattr(sys, name, _Above(self._console, self._written_to[name]))
        for handler in self._writers():
            handler.addFilter(self._quiet)
        self._live.start()
        # Whoever kills the command shall have a cursor.
        self._console.show_cursor(True)
        gevent.spawn(self._redraw, self._live)

    def stop(self) -> None:
        """Take it off; what came above it stays."""
        if self._live is None:
            return
        live, self._live = self._live, None
        live.stop()
        while self._written_to:
            name, file = self._written_to.popitem()
            setattr(sys, name, file)
        for handler in self._writers():
            handler.removeFilter(self._quiet)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Off for a moment, such as for a question."""
        was_on = self.is_on
        self.stop()
        try:
            yield
        finally:
            if was_on:
                self.start()

    @staticmethod
    def _to_redirect() -> list[str]:
        return ["stderr", *(["stdout"] if sys.stdout.isatty() else [])]

    @staticmethod
    def _writers() -> list[logging.Handler]:
        return [handler for handler in logger.handlers if not isinstance(handler, LogFile)]

    def _drawn(self) -> Text:
        width, height = self._console.size
        # The last line is the cursor's.
        return view(self.board, width, max(height - 1, 1))

    def _redraw(self, live: Live) -> None:
        while self._live is live:
            live.refresh()
            gevent.sleep(REDRAWN_EVERY)


class _Above(FileProxy):
    """What is written comes above the board. click takes a file only for what it is where it knows its encoding."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the terminal."""
        return self.rich_proxied_file.encoding  # type: ignore[attr-defined,no-any-return]

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What becomes of a character that the terminal does not know."""
        return self.rich_proxied_file.errors  # type: ignore[attr-defined,no-any-return]


class _Quiet(logging.Filter):
    """Keeps from the terminal what the screen shows anyway; the log file has it."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if self.screen.everything:
            return True
        return record.levelno > logging.INFO and not is_own_word(uncoloured(record.getMessage()))
