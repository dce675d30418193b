"""What the terminal shows, as pictures in a real browser: two widths, light and dark, and nothing cut off."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.progress.board import Board
from ollama_fleet.deploys.progress.invocation import Invocation
from ollama_fleet.deploys.progress.summary import summary
from ollama_fleet.deploys.progress.view import view
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.outputs.drift_view import print_drift
from ollama_fleet.outputs.plan_view import print_plan
from ollama_fleet.outputs.plans import planned_host
from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.state import HostState
from page.browser import Browser
from page.fleets import SMALL, fleet_of
from page.terminal_picture import laid_out, picture
from unit.planner.states import FRESH
from unit.planner.test_host_plan import plan

GIB = 1 << 30
NARROW, WIDE = 60, 120
PULL = "pull hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:IQ3_M: the connection to the host broke off; run again"
LOOKS = [(columns, dark) for columns in (NARROW, WIDE) for dark in (False, True)]


@dataclass(frozen=True)
class At:
    name: str


def terminal(columns: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    console = Console(
        file=out, width=columns, force_terminal=True, color_system="standard", highlight=False, markup=False
    )
    return console, out


def a_plan(columns: int) -> str:
    console, out = terminal(columns)
    print_plan(console, [planned_host(host, Lock()) for host in fleet_of(SMALL).hosts], Lock())
    return out.getvalue()


@dataclass(frozen=True)
class Item:
    """Something that differs."""

    kind: str
    name: str
    actual: str
    wanted: str

    def differences(self, state: HostState) -> list[Difference]:
        return [Difference("content", self.wanted, self.actual)]


class Changes:
    """A plan of something to change and something to remove."""

    restarts = False
    told = ()
    instances = ()
    items = (
        Item("model", "reasoner:latest", "temperature 0.7", "temperature 0.6"),
        Item("prune", "model old:latest", "present, 4.1 GiB to be freed", "absent"),
    )

    def differences(self, state: HostState) -> list[tuple[Item, list[Difference]]]:
        return [(item, item.differences(state)) for item in self.items]


def a_drift(columns: int) -> str:
    console, out = terminal(columns)
    found = [
        Surveyed("gpu-01", plan(FRESH), FRESH, None),
        Surveyed("gpu-02", Changes(), FRESH, None),  # type: ignore[arg-type]
        Surveyed("gpu-03", None, None, "no connection"),
    ]
    print_drift(console, found)
    return out.getvalue()


def a_board() -> Board:
    """Fifty hosts in the middle of it."""
    now = 0.0
    board = Board(lambda: now)
    hosts = [At(f"gpu-{number:02}") for number in range(1, 51)]
    board.names(host.name for host in hosts)
    board.starts("Rollout", 7, 10)
    for number, host in enumerate(hosts):
        board.enters(host.name, "Rollout")
        if number < 6:
            board.begin(host, "pulling deepseek-r1:32b")
            for second in range(11):
                now = float(second)
                done = (4 + number) * GIB + second * 100 * 2**20
                board.transfer(host, "deepseek-r1:32b", "pulling 6150", "6150", done, 18 * GIB)
        elif number < 9:
            board.begin(host, "loading reasoner:latest")
        elif number < 11:
            board.fails(host.name, PULL)
        else:
            board.leaves(host.name, through=True)
    return board


def an_apply(columns: int) -> str:
    console, out = terminal(columns)
    console.print(view(a_board(), columns, 24))
    return out.getvalue()


def a_summary(columns: int) -> str:
    console, out = terminal(columns)
    for line in summary(
        a_board(), Invocation("inventory/hosts.py", ("deploy.py",), yes=True), {}, proven=True
    ):
        for text in line.wrapped(columns - 4):
            console.print(f"    {text}", style=line.colour or "default", soft_wrap=True)
    return out.getvalue()


SHOWN: dict[str, tuple[Callable[[int], str], list[str]]] = {
    "plan": (a_plan, ["18.5GiB,3min", "loadsat1GB/s", "reasoner:thebestof", "doesnotfit:too-small"]),
    "drift": (
        a_drift,
        ["tofetch(1sat1Gbit/s)", "absent→present", "gpu-02~1-1", "gpu-03noconnection", "2changed,1failed"],
    ),
    "apply": (an_apply, ["50hosts:9atwork,39waiting,2failed", "2min13sleft", "gpu-09loadingreasoner:latest"]),
    "summary": (a_summary, ["39of50hosts", "".join(PULL.split()), "next:pyinfra-yinventory/hosts.py"]),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Look at what is in it."""
    return tmp_path_factory.mktemp("terminal-pictures")


@pytest.mark.parametrize(("columns", "dark"), LOOKS)
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_cut_off(name: str, columns: int, dark: bool, browser: Browser, folder: Path) -> None:
    write, words = SHOWN[name]
    written = write(columns)
    shown = laid_out(written, columns).plain
    together = "".join(shown.split())
    for word in words:
        assert word in together
    drawn = picture(
        written, columns, folder / f"{name}-{columns}-{'dark' if dark else 'light'}.svg", dark=dark
    )
    browser.show(drawn, width=1600)
    beyond = browser.ask(
        "const frame = document.documentElement.viewBox.baseVal;"
        "return [...document.querySelectorAll('text')].filter((text) => {"
        "  const box = text.getBBox(), shift = text.getCTM(), edge = document.documentElement.getCTM();"
        "  const right = ((box.x + box.width) * shift.a + shift.e - edge.e) / edge.a;"
        "  return right > frame.width + 1; }).map((text) => text.textContent);"
    )
    assert beyond == []
    drawn_words = browser.ask(
        "return [...document.querySelectorAll('text')].map((one) => one.textContent).join('')"
    )
    assert "".join(together.split()) in "".join(drawn_words.replace("\xa0", " ").split())
    assert browser.complaints() == []
    browser.driver.save_screenshot(str(drawn.with_suffix(".png")))
