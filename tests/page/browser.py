"""Debian's Chromium, installed where it is missing, and what the tests ask of it.

Where it cannot be had (no root, no apt-get, no network) the tests are skipped and say why.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

TOOLS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
FONTS = "fonts-dejavu-core"
AXE = "axe-playwright-python==0.1.8"
"""A wheel that holds axe-core 4.12.1; only that file of it is used."""
HEIGHT = 900


class NoBrowser(Exception):
    """Why there is none, in one line."""


def install() -> None:
    """Install Chromium and its driver where they are missing. Raises NoBrowser."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoBrowser(f"{' and '.join(missing)} missing; only root can install them, by apt-get")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing, FONTS]):
        done = subprocess.run([*apt, *command], capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise NoBrowser(f"apt-get {command[0]} failed: {(done.stderr.strip() or '?').splitlines()[-1]}")


def axe_core(cache: Path) -> str:
    """The text of axe-core, fetched once by pip into `cache`. Raises NoBrowser."""
    script = cache / "axe.min.js"
    if not script.is_file():
        fetch = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", str(cache), AXE]
        done = subprocess.run(fetch, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise NoBrowser(f"pip cannot fetch {AXE}: {(done.stderr.strip() or '?').splitlines()[-1]}")
        (wheel,) = cache.glob("axe_playwright_python-*.whl")
        script.write_bytes(zipfile.ZipFile(wheel).read("axe_playwright_python/axe.min.js"))
    return script.read_text(encoding="utf-8")


class Browser:
    """One Chromium; each page is shown at a width, light or dark."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(
        self, path: Path, *, width: int = 1280, height: int = HEIGHT, dark: bool = False, anchor: str = ""
    ) -> None:
        """Open a file at a width in CSS pixels."""
        command = self.driver.execute_cdp_cmd
        command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")  # a new anchor alone would not load the page anew
        self.driver.get(path.as_uri() + (f"#{anchor}" if anchor else ""))

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a function body returns on the page."""
        return self.driver.execute_script(script, *arguments)

    def picture(self) -> bytes:
        """The whole page as a PNG, however long it is."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(shot["data"])

    def complaints(self) -> list[str]:
        """What the console has said since it was last asked, warnings and errors."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def violations(self, axe: str) -> list[str]:
        """What axe-core has against the page as it stands: the rule and the element."""
        self.driver.execute_script(axe)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((result) => done(JSON.stringify(result.violations)));"
        )
        return [f"{rule['id']}: {node['html'][:200]}" for rule in json.loads(found) for node in rule["nodes"]]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium that is gone afterwards. Raises NoBrowser."""
    install()
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
