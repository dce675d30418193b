"""Draw docs/page.png: the page that `ollama-fleet report` makes of examples/mixed-rack.yaml, in a headless Chromium.

    python docs/page_picture.py

Installs Chromium where it is missing, which needs root.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/page.png"
DESK, PHONE = (900, 1000), (390, 1000)
"""Width and height in pixels."""
GAP = 24

sys.path.insert(0, str(ROOT / "tests"))

from page.browser import Browser, chromium  # noqa: E402 - lies in tests/


def main() -> None:
    """Make the page, look at it twice, write the picture."""
    with tempfile.TemporaryDirectory(prefix="ollama-fleet-picture-") as temporary:
        page = Path(temporary) / "report.html"
        subprocess.run(  # noqa: S603 - our own command
            [Path(sys.executable).with_name("ollama-fleet"), "report", "-o", page],
            env={**os.environ, "OLLAMA_FLEET": str(ROOT / "examples/mixed-rack.yaml")},
            check=True,
        )
        with chromium() as browser:
            shots = [_shot(browser, page, DESK, dark=False), _shot(browser, page, PHONE, dark=True)]
    whole = Image.new("RGB", (sum(shot.width for shot in shots) + GAP, DESK[1]), "white")
    whole.paste(shots[0], (0, 0))
    whole.paste(shots[1], (shots[0].width + GAP, 0))
    whole.quantize(128).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KiB")


def _shot(browser: Browser, page: Path, size: tuple[int, int], *, dark: bool) -> Image.Image:
    width, height = size
    browser.show(page, width=width, height=height, dark=dark)
    return Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).crop((0, 0, width, height))


if __name__ == "__main__":
    main()
