"""The page in a real browser: both widths, light and dark, used as people use it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import zxingcpp
from PIL import Image
from selenium.webdriver.common.by import By

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.deploys.surveyed import Surveyed
from ollama_fleet.hardware.device import Device
from ollama_fleet.outputs.report.content import content_of
from page.browser import Browser
from page.fleets import RUNS, SMALL, fleet_of, large_fleet, large_runs, write_page
from unit.planner.states import FRESH
from unit.planner.test_host_plan import FLEET, plan

PHONE, DESK = 390, 1280
LOOKS = [(width, dark) for width in (PHONE, DESK) for dark in (False, True)]
Folder = pytest.TempPathFactory


@pytest.fixture(scope="session")
def planned(tmp_path_factory: Folder) -> Path:
    return write_page(tmp_path_factory.mktemp("page") / "planned.html", SMALL, runs=RUNS)


@pytest.fixture(scope="session")
def large(tmp_path_factory: Folder) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_page(folder / "large.html", large_fleet(100), runs=large_runs(100))


@pytest.fixture(scope="session")
def live(tmp_path_factory: Folder) -> Path:
    """A fleet of which one host was read and differs, and one could not be read."""
    card = Device.declared("rtx-4090", 0)
    state = replace(FRESH, devices=(replace(card, memory_free=card.memory_total - 5 * 2**30),))
    fleet = FLEET + "  gpu-02: {address: 192.168.1.12, models: [reasoner]}\n"
    found = [Surveyed("gpu-01", plan(state), state, None), Surveyed("gpu-02", None, None, "no connection")]
    return write_page(tmp_path_factory.mktemp("page") / "live.html", fleet, found)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
@pytest.mark.parametrize("name", ["planned", "live"])
def test_looks(
    name: str,
    width: int,
    dark: bool,
    browser: Browser,
    axe: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: Folder,
) -> None:
    """Nothing is wider than the screen, nothing keeps anybody out, the console is silent.

    What it looks like lies in pytest's temporary folder, `looks*/`.
    """
    browser.show(request.getfixturevalue(name), width=width, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    look = tmp_path_factory.mktemp("looks") / f"{name}-{width}-{'dark' if dark else 'light'}.png"
    look.write_bytes(browser.picture())
    with Image.open(look) as picture:
        assert width - 20 < picture.width <= width  # a scroll bar takes some
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20  # not a blank sheet

    assert browser.ask("return document.documentElement.scrollWidth") <= width
    background = browser.ask("return getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").partition(",")[0])
    assert (red < 80) is dark
    assert browser.violations(axe) == []
    assert browser.complaints() == []


def test_nothing_is_loaded(browser: Browser, planned: Path) -> None:
    browser.show(planned)
    loaded = browser.ask("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def shown(browser: Browser) -> list[str]:
    """The hosts that are to be seen."""
    found: list[str] = browser.ask(
        "return [...document.querySelectorAll('details.host')]"
        ".filter((one) => one.checkVisibility()).map((one) => one.id)"
    )
    return found


def test_search_and_folding(browser: Browser, planned: Path) -> None:
    browser.show(planned)
    every = shown(browser)
    search = browser.driver.find_element(By.ID, "search")

    search.send_keys("4060")
    assert shown(browser) == ["host-gpu-02"]
    assert browser.driver.find_element(By.ID, "count").text == "1 shown"
    search.clear()
    search.send_keys(" ")
    assert shown(browser) == every
    for button, opened in (("close", 0), ("open", len(every))):
        browser.driver.find_element(By.ID, button).click()
        assert len(browser.driver.find_elements(By.CSS_SELECTOR, "details.host[open]")) == opened
    assert browser.complaints() == []


def test_a_link_of_the_overview_leads_to_its_host_and_unfolds_it(browser: Browser, planned: Path) -> None:
    browser.show(planned)
    browser.driver.find_element(By.ID, "close").click()

    browser.driver.find_element(By.LINK_TEXT, "gpu-02").click()

    (opened,) = browser.driver.find_elements(By.CSS_SELECTOR, "details.host[open]")
    assert opened.get_attribute("id") == "host-gpu-02"
    top = browser.ask("return document.getElementById('host-gpu-02').getBoundingClientRect().top")
    assert 0 <= top < 600


def test_settings_are_copied(browser: Browser, planned: Path) -> None:
    browser.show(planned)
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    host = browser.driver.find_element(By.ID, "host-gpu-01")
    host.find_element(By.CSS_SELECTOR, "details.settings > summary").click()

    button = host.find_element(By.CSS_SELECTOR, "button[aria-label='Copy: openai, gpu-01']")
    button.click()

    assert wait_for(browser, "return document.getElementById('taken').textContent") == "Copied"
    copied = browser.driver.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)));"
    )
    assert copied == "OPENAI_BASE_URL=http://192.168.1.11:11434/v1\nOPENAI_API_KEY=ollama"


def wait_for(browser: Browser, script: str) -> Any:
    return browser.driver.execute_async_script(
        f"const done = arguments[0], ask = () => {{ {script} }};"
        "const look = () => { const got = ask(); got ? done(got) : setTimeout(look, 20); }; look();"
    )


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_code_on_the_screen_reads_as_the_link_beside_it(
    width: int, browser: Browser, planned: Path
) -> None:
    browser.show(planned, width=width, dark=True)
    host = browser.driver.find_element(By.ID, "host-gpu-01")
    host.find_element(By.CSS_SELECTOR, "details.settings > summary").click()
    code = host.find_element(By.CSS_SELECTOR, "img.qr")
    browser.ask("arguments[0].scrollIntoView({block: 'center'}); return arguments[0].decode()", code)

    (read,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(code.screenshot_as_png)))

    link = host.find_element(By.CSS_SELECTOR, "a[href^='chatbox:']").get_attribute("href")
    assert link is not None
    assert read.text == link
    assert unquote(read.text).startswith("chatbox://provider/import?config=ey")


def test_what_was_found_is_told(browser: Browser, live: Path) -> None:
    browser.show(live)

    rows = browser.driver.find_elements(By.CSS_SELECTOR, "tbody tr[data-words]")
    assert [row.find_elements(By.TAG_NAME, "td")[1].text for row in rows] == [
        f"{len(browser.driver.find_elements(By.CSS_SELECTOR, '#host-gpu-01 .scroll tbody tr'))} to change",
        "unreadable",
    ]
    assert "5.0 GiB measured in use of 24.0 GiB" in browser.driver.find_element(By.ID, "host-gpu-01").text
    assert "no connection" in browser.driver.find_element(By.ID, "host-gpu-02").text


def test_fleets_here_are_valid() -> None:
    assert [host.name for host in fleet_of(SMALL).hosts][:2] == ["gpu-01", "gpu-02"]


def test_charts_have_a_name_a_description_and_their_figures(browser: Browser, planned: Path) -> None:
    browser.show(planned, width=PHONE)
    host = browser.driver.find_element(By.ID, "host-gpu-02")
    charts = host.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert [chart.accessible_name for chart in charts] != []
    for chart, name in zip(
        charts, ("Tokens/s by num_gpu: reasoner", "Tokens/s by bench: reasoner"), strict=True
    ):
        assert chart.accessible_name.startswith(name)
        box = chart.rect
        assert box["width"] <= PHONE
        assert box["height"] > 100
        for drawn in chart.find_elements(By.CSS_SELECTOR, "circle, text"):
            inside = drawn.rect
            assert inside["x"] >= box["x"] - 1
            assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1
    host.find_element(By.CSS_SELECTOR, "details.figures > summary").click()
    assert "60 of 65\n8192" in host.text.replace(" 8192", "\n8192")


def test_a_large_fleet_is_unpacked_where_it_is_looked_at(browser: Browser, axe: str, large: Path) -> None:
    browser.show(large)
    assert browser.driver.find_elements(By.CSS_SELECTOR, "svg") == []

    browser.driver.find_element(By.LINK_TEXT, "gpu-042").click()

    wait_for(browser, "return document.querySelector('#host-gpu-042 svg.bar')")
    host = browser.driver.find_element(By.ID, "host-gpu-042")
    expected = content_of(fleet_of(large_fleet(100)).hosts[41:42], Lock()).hosts[0]
    shown = [
        int(one.get_attribute("data-bytes") or "")
        for one in host.find_elements(By.CSS_SELECTOR, "dd[data-bytes]")
    ]
    assert shown == [part.size for model in expected.models for bar in model.bars for part in bar.parts]
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, "details.host[open]")) == 1
    host.find_element(By.CSS_SELECTOR, "details.settings > summary").click()
    host.find_element(By.CSS_SELECTOR, "button[aria-label='Copy: openai, gpu-042']").click()
    assert wait_for(browser, "return document.getElementById('taken').textContent")
    assert browser.violations(axe) == []

    browser.driver.find_element(By.ID, "open").click()
    wait_for(browser, "return document.querySelectorAll('svg.bar').length === 300")
    assert browser.complaints() == []
