"""The page of a fleet of 100 hosts with three models each, all of them tuned once and benchmarked twelve
times: its size, the time to write it, and to open it in Chromium.

python benchmarks/report_100_hosts.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from page.browser import NoBrowser, chromium
from page.fleets import large_fleet, large_runs, write_page

HOSTS = 100
LIMIT_BYTES, LIMIT_SECONDS = 1_000_000, 1.0


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        path = write_page(Path(temporary) / "page.html", large_fleet(HOSTS), runs=large_runs(HOSTS))
        print(f"{HOSTS} hosts: written in {time.perf_counter() - start:.2f} s")
        print(f"  {path.stat().st_size:,} bytes (no more than {LIMIT_BYTES:,} are wanted)")
        try:
            with chromium() as browser:
                opened = [_open(browser, path) for _ in range(5)]
        except NoBrowser as reason:
            print(f"  not opened: {reason}")
            return
    print(
        f"  opened in {min(opened):.2f} to {max(opened):.2f} s, until all is laid out "
        f"(no more than {LIMIT_SECONDS:g} s is wanted)"
    )


def _open(browser, path: Path) -> float:  # type: ignore[no-untyped-def]
    browser.show(path)
    # The layout is forced, so that nothing is put off until somebody looks.
    browser.ask("return document.body.getBoundingClientRect().height")
    return float(browser.ask("return performance.now()")) / 1000


if __name__ == "__main__":
    main()
