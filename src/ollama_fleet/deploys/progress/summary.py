"""The last lines of an apply: how many hosts are as asked, and for each failure what is wrong and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ollama_fleet.deploys.progress.board import Board, Standing
from ollama_fleet.deploys.progress.invocation import Invocation
from ollama_fleet.deploys.progress.next_command import Failed, next_command
from ollama_fleet.operations.durations import duration_words

PROVEN_SHOWN = 10
"""Hosts: of more only their number is told."""
NAMED = 6
"""Hosts that one line names."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary."""

    text: str
    colour: str = ""
    """As click names them."""
    indent: int = 0
    """Columns."""
    is_whole: bool = False
    """It is never broken: somebody is going to copy it."""

    def wrapped(self, width: int | None) -> list[str]:
        """The line in a window of so many columns, further lines further in; None: uncut."""
        margin = " " * self.indent
        if width is None or self.is_whole:
            return [margin + self.text]
        return textwrap.wrap(
            self.text,
            max(width, 20),
            initial_indent=margin,
            subsequent_indent=f"{margin}  ",
            break_long_words=True,
            break_on_hyphens=False,
        )


def summary(
    board: Board, invocation: Invocation, names: Mapping[str, str], *, proven: bool
) -> Iterator[Line]:
    """Yield the lines.

    Args:
        board: where each host stands at the end.
        invocation: the command that has run.
        names: of hosts in fleet.yaml, by those that pyinfra has for them.
        proven: tell also what has been proven of each host, unless there are many.
    """
    well = [host for host in board.hosts.values() if host.through and host.failure is None]
    failed = board.failed
    broken_off = [host for host in board.hosts.values() if not host.through and host.failure is None]
    yield Line(_headline(board, well, failed, broken_off), "red" if failed or broken_off else "green")
    if proven and len(well) <= PROVEN_SHOWN:
        for host in well:
            yield Line(f"{names.get(host.name, host.name)}: {host.proof or 'as asked'}", "green", 2)
    for group in _grouped(failed, names):
        where = f"at {group.operation}" if group.operation else "before anything was changed"
        reason = group.reason or "see the lines above"
        yield Line(f"{_listed(group.hosts)} failed {where}: {reason}", "red", 2)
        yield Line(f"next: {next_command(group, invocation)}", indent=4, is_whole=True)
    if broken_off and board.begun is not None:
        if at_work := [host for host in broken_off if host.at_work]:
            doing = ", ".join(
                f"{names.get(host.name, host.name)} ({host.doing or host.operation})"
                for host in at_work[:NAMED]
            )
            more = f" and {len(at_work) - NAMED} more" if len(at_work) > NAMED else ""
            yield Line(
                f"at work when it ended: {doing}{more}; the next apply goes on from there", "yellow", 2
            )
        yield Line(f"next: {invocation.again()}", indent=4, is_whole=True)


def _headline(board: Board, well: list[Standing], failed: list[Standing], broken_off: list[Standing]) -> str:
    total = len(board.hosts)
    words = [f"{len(well)} of {total} {'host is' if total == 1 else 'hosts are'} as fleet.yaml asks"]
    if failed:
        words.append(f"{len(failed)} failed")
    if broken_off:
        words.append(f"{len(broken_off)} {'was' if len(broken_off) == 1 else 'were'} not brought to an end")
    took = "" if board.begun is None else f" ({duration_words(board.clock() - board.begun)})"
    return f"{', '.join(words)}{took}"


def _grouped(failed: Iterable[Standing], names: Mapping[str, str]) -> Iterator[Failed]:
    groups: dict[tuple[str, str], list[Standing]] = {}
    for host in failed:
        groups.setdefault((host.operation, host.failure or ""), []).append(host)
    for (operation, reason), hosts in groups.items():
        limits = tuple(host.name for host in hosts)
        yield Failed(tuple(names.get(name, name) for name in limits), limits, operation, reason)


def _listed(hosts: tuple[str, ...]) -> str:
    if len(hosts) <= NAMED:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:NAMED])} and {len(hosts) - NAMED} more"
