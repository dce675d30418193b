"""Where tables go: as wide as the terminal, and never cut where there is none."""

from __future__ import annotations

import sys

from rich.console import Console

PIPE_WIDTH = 1000
"""Columns where the output goes to a file or another program."""


def console() -> Console:
    """Return a console for standard output; colours only for a terminal, and not under NO_COLOR.

    Brackets are no markup: names of models come from files that anybody may have made.
    """
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
