"""QR codes of links: for a terminal, and as SVG for the page."""

from __future__ import annotations

from io import StringIO

LARGEST = 2000
"""Characters; a code of more is too dense for a phone's camera to read off a screen."""
QUIET = 2
"""Modules left blank around it; the standard asks for 4, and readers do with 2."""


def terminal_code(text: str) -> str | None:
    """The code in half blocks, a module one column wide; None for a text that is too long."""
    import segno

    if len(text) > LARGEST:
        return None
    drawn = StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, border=QUIET, compact=True)
    return drawn.getvalue().rstrip("\n")


def svg_code(text: str) -> str | None:
    """The code as an SVG element without a size of its own, dark on light whatever the page; None if too long."""
    import segno

    if len(text) > LARGEST:
        return None
    code = segno.make(text, error="l", micro=False)
    return code.svg_inline(
        border=QUIET, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
