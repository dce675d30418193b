"""A board as lines for a window: one for all, then the hosts that are at work or have failed, the rest as counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ollama_fleet.deploys.progress.board import Board, Standing
from ollama_fleet.operations.durations import duration_words
from ollama_fleet.operations.transfer import together
from ollama_fleet.planner.sizes import large_size_words

BAR = 20
"""Columns."""
GAP = "  "
NARROWEST_DOING = 16
LONGEST_NAME = 24
COLUMNS = ("bar", "share", "bytes", "rate", "left")
DROPPED_FIRST = ("bar", "rate", "bytes", "left")
"""Where the window is too narrow for all columns; what a host is doing is cut only after these have gone."""


def view(board: Board, width: int, height: int) -> Text:
    """Return what to show in a window of so many columns and lines; no line is longer and there are no more."""
    now = board.clock()
    head = list(_head(board, now, width))[:height]
    room = height - len(head)
    shown, hidden = _chosen(board, room)
    lines = [*head, *_rows(board, shown, now, width)]
    if hidden and room:
        lines.append(Text(_cut(f"and {hidden}", width), "dim"))
    return Text("\n").join(lines)


def _head(board: Board, now: float, width: int) -> Iterator[Text]:
    """The sum of all: one line where it has room, else one for the hosts and one for the bytes, or more."""
    at_work, failed = len(board.at_work), len(board.failed)
    others = len(board.hosts) - at_work - failed
    counts = [
        f"{at_work} at work",
        f"{others} waiting" if others else "",
        f"{failed} failed" if failed else "",
    ]
    first = [
        f"{board.operation} ({board.number} of {board.operations})",
        f"{len(board.hosts)} {'host' if len(board.hosts) == 1 else 'hosts'}: {', '.join(filter(None, counts))}",
    ]
    second = [] if board.begun is None else [duration_words(now - board.begun)]
    done, size, rate, left = together(now, (host.transfers.values() for host in board.hosts.values()))
    if left != 0.0:
        second.append(f"{large_size_words(done)} of {large_size_words(size)}")
    if rate is not None:
        second.append(f"{large_size_words(rate)}/s")
    if left:
        second.append(f"{duration_words(left)} left")
    if cell_len(GAP.join([*first, *second])) <= width:
        first, second = [*first, *second], []
    for line in [*_packed(first, width), *_packed(second, width)]:
        yield Text(_cut(line, width), "bold")


def _packed(words: Sequence[str], width: int) -> Iterator[str]:
    """As many of them in a line as have room."""
    line = ""
    for word in words:
        longer = f"{line}{GAP}{word}" if line else word
        if line and cell_len(longer) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _chosen(board: Board, room: int) -> tuple[list[Standing], str]:
    """The hosts to show in so many lines, and words for those that have no room.

    Of too many, those that have failed get up to a third of the lines: what they died of is told at the end again.
    """
    busy, failed = board.at_work, board.failed
    if len(busy) + len(failed) <= room:
        return [*busy, *failed], ""
    room = max(room - 1, 0)
    of_failed = min(len(failed), max(room // 3, room - len(busy)))
    of_busy = min(len(busy), room - of_failed)
    # Of those at work the ones that bring something say most.
    first = sorted(busy, key=lambda host: host.transfer is None)[:of_busy]
    kept = [host for host in busy if host in first]
    more = [
        f"{count} more {word}"
        for count, word in ((len(busy) - of_busy, "at work"), (len(failed) - of_failed, "failed"))
        if count
    ]
    return [*kept, *failed[:of_failed]], ", ".join(more)


@dataclass(frozen=True, slots=True)
class _Row:
    """One host: what it is doing, and the columns of a transfer, or words instead of them."""

    host: Standing
    doing: str
    cells: Sequence[str] = ()
    words: str = ""


def _rows(board: Board, hosts: Sequence[Standing], now: float, width: int) -> Iterator[Text]:
    rows = [_row(host, now) for host in hosts]
    name = min(max((cell_len(row.host.name) for row in rows), default=0), LONGEST_NAME, max(width // 3, 1))
    doing = max((cell_len(row.doing) for row in rows if row.cells), default=0)
    widths = {
        column: max((cell_len(row.cells[at]) for row in rows if row.cells), default=0)
        for at, column in enumerate(COLUMNS)
    }
    shown = [column for column in COLUMNS if widths[column]]
    for column in DROPPED_FIRST:
        if _sum(name, min(doing, NARROWEST_DOING), (widths[one] for one in shown)) <= width:
            break
        shown = [one for one in shown if one != column]
    doing = min(doing, max(width - _sum(name, 0, (widths[one] for one in shown)), 1))
    for row in rows:
        line = Text(set_cell_size(_cut(row.host.name, name), name), "bold").append(GAP, "not bold")
        if row.cells:
            line.append(set_cell_size(_cut(row.doing, doing), doing), "not bold")
            for at, column in enumerate(COLUMNS):
                if column in shown:
                    cell = row.cells[at]
                    padded = cell if column == "bar" else " " * (widths[column] - cell_len(cell)) + cell
                    line.append(GAP + padded, "cyan not bold" if column == "bar" else "not bold")
        else:
            left = max(width - name - len(GAP), 1)
            style = "red not bold" if row.host.failure is not None else "not bold"
            words = f"{GAP}{row.words}" if row.words else ""
            line.append(_cut(row.doing, max(left - cell_len(words), 1)) + words, style)
        line.truncate(width)
        yield line


def _row(host: Standing, now: float) -> _Row:
    if host.failure is not None:
        return _Row(host, _one_line(f"failed: {host.failure}" if host.failure else "failed"))
    transfer = host.transfer
    doing = _one_line(host.doing or host.operation)
    if transfer is None:
        told = f", {host.status}" if host.status else ""
        return _Row(host, _one_line(f"{doing}{told}"), words=duration_words(now - host.since))
    if not transfer.left:
        return _Row(host, _one_line(f"{doing}, {host.status}"), words=duration_words(now - host.since))
    number = list(host.transfers).index(host.bringing or "") + 1
    of_all = f" ({number} of {len(host.transfers)})" if len(host.transfers) > 1 else ""
    full = int(transfer.share * BAR)
    rate, left = transfer.rate(now), transfer.seconds_left(now)
    cells = (
        "━" * full + "╌" * (BAR - full),
        f"{int(transfer.share * 100)}%",
        f"{large_size_words(transfer.done)} of {large_size_words(transfer.size)}",
        "" if rate is None else f"{large_size_words(rate)}/s",
        "" if left is None else f"{duration_words(left)} left",
    )
    return _Row(host, f"{doing}{of_all}", cells)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sum(name: int, doing: int, widths: Iterable[int]) -> int:
    return name + len(GAP) + doing + sum(width + len(GAP) for width in widths)


def _cut(text: str, width: int) -> str:
    """Leave out the middle of what is too long: the end of a model's name says as much as its beginning."""
    if cell_len(text) <= width:
        return text
    before = max((width - 1) // 2, 0)
    after = max(width - 1 - before, 0)
    return f"{text[:before]}…{text[len(text) - after :]}" if width > 1 else "…"[:width]
