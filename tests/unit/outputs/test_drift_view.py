"""The table of changes: signs, sizes, and a line for the fleet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import StringIO

import pytest
from rich.console import Console

from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.drift_view import item_changes, print_drift
from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.host_plan import HostPlan
from ollama_fleet.planner.state import HostState
from unit.planner.states import FRESH
from unit.planner.test_host_plan import plan


@dataclass(frozen=True)
class Item:
    """An item that differs in one aspect."""

    actual: str
    wanted: str
    kind: str = "model"
    name: str = "reasoner"

    def differences(self, state: HostState) -> list[Difference]:
        return [Difference("content", self.wanted, self.actual)]


class OneItem:
    """A plan of one item."""

    def __init__(self, item: Item) -> None:
        self.item = item

    def differences(self, state: HostState) -> list[tuple[Item, list[Difference]]]:
        return [(self.item, self.item.differences(state))]


class Nothing:
    """A plan that a host fulfils."""

    restarts = False
    instances = ()
    told = ("somebody else's drop-in is left",)

    def differences(self, state: HostState) -> list[tuple[Item, list[Difference]]]:
        return []


@pytest.mark.parametrize(
    ("actual", "wanted", "sign"),
    [("absent", "present", "+"), ("24h", "5m", "~"), ("present, 4.1 GiB to be freed", "absent", "-")],
)
def test_signs(actual: str, wanted: str, sign: str) -> None:
    (change,) = item_changes(OneItem(Item(actual, wanted)), FRESH)  # type: ignore[arg-type]
    assert change.sign == sign


def test_sizes_are_of_what_is_missing() -> None:
    sizes = {change.item.kind: change.size for change in item_changes(plan(FRESH), FRESH) if change.size}
    assert sizes == {"release": 10, "base": 1020}

    half = replace(FRESH, store=replace(FRESH.store, blob_sizes={"sha256:" + "1" * 64: 1000}))
    sizes = {change.item.kind: change.size for change in item_changes(plan(half), half) if change.size}
    assert sizes["base"] == 20


def printed(width: int = 120) -> list[str]:
    """One host that is fresh, one that is as wanted, one that does not answer."""
    done: HostPlan = Nothing()  # type: ignore[assignment]
    found = [
        Surveyed("gpu-01", plan(FRESH), FRESH, None),
        Surveyed("gpu-02", done, FRESH, None),
        Surveyed("gpu-03", None, None, "no connection"),
    ]
    out = StringIO()
    print_drift(Console(file=out, width=width, highlight=False, markup=False), found)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_table() -> None:
    lines = printed()

    assert lines[0].startswith("gpu-01  +")
    assert "to fetch (1 s at 1 Gbit/s)" in lines[0]
    base = [line.split() for line in lines if " base " in line]
    assert base == [
        ["+", "base", "registry.lan:5000/library/tiny:latest", "model:", "absent", "→", "present"]
    ]
    assert "gpu-02  nothing to do" in lines
    assert "   note: somebody else's drop-in is left" in lines
    assert "gpu-03  no connection" in lines
    assert lines[-1].startswith("3 hosts: 1 clean, 1 changed, 1 failed, ")


def test_nothing_is_cut_in_a_narrow_window() -> None:
    narrow = printed(width=50)

    assert max(len(line) for line in narrow if line.startswith("  ")) <= 50
    assert "…" not in "".join(narrow)
    assert "/srv/models" in "".join("".join(narrow).split())
