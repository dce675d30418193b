"""Pictures of a terminal as somebody sees it: a terminal emulator lays out what was written, rich draws it as SVG."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text

OFFLINE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""rich's own frame without the fonts that it would fetch from elsewhere."""
NAMED = {"brown": "yellow", "default": "default"}


def laid_out(written: str, columns: int) -> Text:
    """What a terminal of so many columns shows of it, however long that is, without empty lines at the end."""
    screen = pyte.Screen(columns, 400)
    pyte.Stream(screen).feed(written.replace("\r\n", "\n").replace("\n", "\r\n"))
    shown = Text()
    height = max((row for row, line in enumerate(screen.display) if line.strip()), default=0) + 1
    for row in range(height):
        for column in range(columns):
            cell = screen.buffer[row][column]
            colour = NAMED.get(cell.fg, cell.fg)
            colour = f"#{colour}" if re.fullmatch("[0-9a-f]{6}", colour) else colour
            shown.append(cell.data, Style(color=Color.parse(colour), bold=cell.bold, dim=False))
        shown.append("\n")
    return shown


def picture(written: str, columns: int, path: Path, *, dark: bool) -> Path:
    """Draw it into a file."""
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(laid_out(written, columns), end="", soft_wrap=True)
    theme = SVG_EXPORT_THEME if dark else DEFAULT_TERMINAL_THEME
    path.write_text(console.export_svg(title="ollama-fleet", theme=theme, code_format=OFFLINE))
    return path
