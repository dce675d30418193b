"""NO_COLOR, which pyinfra does not know, for its lines too."""

from __future__ import annotations

import logging
import os

from pyinfra import logger
from pyinfra.api.output import set_formatter

from ollama_fleet.deploys.progress.log_file import uncoloured


class _Uncoloured(logging.Formatter):
    """pyinfra's lines without its colours."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format as pyinfra does, and take the colours off."""
        return uncoloured(self.inner.format(record))


def respect_no_color() -> None:
    """Have pyinfra, which knows no NO_COLOR, write without colours where that is set."""
    if not os.environ.get("NO_COLOR"):
        return
    set_formatter(lambda text, *_, **__: text)
    for handler in logger.handlers:
        if handler.formatter is not None and not isinstance(handler.formatter, _Uncoloured):
            handler.setFormatter(_Uncoloured(handler.formatter))
