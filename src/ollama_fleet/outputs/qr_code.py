"""QR codes of links: for a terminal, and as an image for the page."""

from __future__ import annotations

from io import StringIO

LARGEST = 2000
"""Characters; a code of more is too dense for a phone's camera to read off a screen."""
QUIET = 2
"""Modules left blank around it; the standard asks for 4, and readers do with 2."""

MASK = 2


def terminal_code(text: str) -> str | None:
    """The code in half blocks, a module one column wide; None for a text that is too long."""
    import segno

    if len(text) > LARGEST:
        return None
    drawn = StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, border=QUIET, compact=True)
    return drawn.getvalue().rstrip("\n")


def image_of(text: str) -> str | None:
    """The code as a `data:` URL of a PNG, a pixel for each module; a tenth of what SVG takes. None if too long."""
    import segno

    if len(text) > LARGEST:
        return None
    # Weighing all eight masks takes most of the time, and text in base64 is irregular enough under any.
    return segno.make(text, error="l", micro=False, mask=MASK).png_data_uri(border=QUIET, scale=1)
