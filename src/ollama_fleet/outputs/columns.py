"""Rows in columns, without a look at the terminal: what thousands of rows are printed as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each row as one line, every column as wide as its widest cell.

    Rows may be short, and a short row's last cell, such as a sentence, makes no column wider.
    """
    widths: list[int] = []
    sizes: dict[str, int] = {}
    for row in rows:
        for place, cell in enumerate(row):
            size = sizes.get(cell)
            if size is None:
                size = sizes[cell] = cell_len(cell)
            if place == len(widths):
                widths.append(size)
            elif place < len(row) - 1:
                widths[place] = max(widths[place], size)
    for row in rows:
        padded = [cell + " " * (width - sizes[cell]) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join(padded).rstrip()
