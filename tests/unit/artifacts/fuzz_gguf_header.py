"""Coverage-guided search for a header that does harm. Needs `pip install atheris`, which the tests do not.

    cd tests && python -m unit.artifacts.fuzz_gguf_header [FOLDER] -max_total_time=600 -rss_limit_mb=512

FOLDER keeps what was found to reach new code, and what did harm.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ollama_fleet.artifacts"]):
    from unit.artifacts.hostile_headers import check, seeds


def one(data: bytes) -> None:
    """Read the bytes as a file of their size and as the beginning of a large one."""
    check(data, len(data))
    check(data, 4 * 10**6)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        headers = seeds(Path(folder))
        arguments = sys.argv[1:]
        if not arguments or arguments[0].startswith("-"):
            arguments.insert(0, folder)
        start = Path(arguments[0])
        start.mkdir(parents=True, exist_ok=True)
        for number, header in enumerate(headers):
            (start / f"seed-{number}").write_bytes(header[:8000])
        atheris.Setup([sys.argv[0], *arguments, "-max_len=10000", f"-artifact_prefix={start}/"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
