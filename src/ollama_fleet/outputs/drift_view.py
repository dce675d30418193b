"""What an apply would change, for somebody at a terminal: a table per host. Pipes get `change_lines` instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.least_times import LINE_WORDS, download_words
from ollama_fleet.outputs.sizes import hosts_words
from ollama_fleet.planner.difference import Difference, Item
from ollama_fleet.planner.fetching import to_fetch
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.sizes import large_size_words
from ollama_fleet.planner.state import HostState

ABSENT = "absent"
STYLES = {"+": "green", "~": "yellow", "-": "red"}


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One item that is not as wanted. `sign`: + is made, ~ is changed, - is removed. `size` is to be fetched."""

    sign: str
    item: Item
    differences: Sequence[Difference]
    size: int


def item_changes(plan: HostPlan, state: HostState) -> Iterator[ItemChange]:
    """Yield the items that differ, in the order of an apply."""
    for item, differences in plan.differences(state):
        yield ItemChange(_sign(differences), item, differences, to_fetch(item, state))


def _sign(differences: Sequence[Difference]) -> str:
    if all(difference.wanted == ABSENT for difference in differences):
        return "-"
    return "+" if differences[0].actual == ABSENT else "~"


def print_drift(out: Console, found: Sequence[Surveyed]) -> None:
    """Print each host's changes, and a line for the fleet at the end."""
    fetched = 0
    counts = {"clean": 0, "changed": 0, "failed": 0}
    for host in found:
        changes = list(item_changes(host.plan, host.state)) if host.plan and host.state else []
        size = sum(change.size for change in changes)
        fetched += size
        counts["failed" if host.error else "changed" if changes else "clean"] += 1
        out.print(_headline(host, changes, size), soft_wrap=True)
        if changes:
            out.print(_table(changes))
        if host.plan:
            _print_rest(out, host.plan, host.state)
    words = [f"{count} {word}" for word, count in counts.items() if count]
    out.print(
        f"{hosts_words(len(found))}: {', '.join(words)}{_fetch_words(fetched)}", style="bold", soft_wrap=True
    )


def _headline(host: Surveyed, changes: Sequence[ItemChange], size: int) -> Text:
    line = Text(host.host, "bold")
    if host.error:
        return line.append(f"  {host.error}", "red")
    if not changes:
        return line.append("  nothing to do", "green")
    signs = [f"{sign}{count}" for sign in STYLES if (count := sum(c.sign == sign for c in changes))]
    return line.append(f"  {' '.join(signs)}{_fetch_words(size)}", "not bold")


def _fetch_words(size: int) -> str:
    return f", {large_size_words(size)} to fetch ({download_words(size)} {LINE_WORDS})" if size else ""


def _table(changes: Sequence[ItemChange]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    table.add_column(width=2, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=2)
    table.add_column(overflow="fold", ratio=3)
    for change in changes:
        style = STYLES[change.sign]
        told = "\n".join(str(difference) for difference in change.differences)
        size = (
            f"\n{large_size_words(change.size)}, {download_words(change.size)} {LINE_WORDS}"
            if change.size
            else ""
        )
        table.add_row(
            Text(change.sign, style),
            Text(change.item.kind, style),
            Text(change.item.name),
            Text(told).append(size, "dim"),
        )
    return table


def _print_rest(out: Console, plan: HostPlan, state: HostState | None) -> None:
    for instance in plan.instances if state is not None else ():
        service = instance.service
        if state is not None and service.restart_because and instance.sees(state).service.active == "active":
            because = ", ".join(service.restart_because)
            out.print(_indented(f"restart of {service.name} for the new {because}", "yellow"))
    for remark in plan.told:
        out.print(_indented(f"note: {remark}", "dim"))


def _indented(text: str, style: str) -> Padding:
    return Padding(Text(text, style), (0, 0, 0, 3))
