"""What the facts of a large model cost to read over HTTP: bytes, requests, seconds; and memory.

The file is a 70B model at Q4_K_M with Llama 3's vocabulary: 42.5 GB, nearly all of it a hole, with a true header
of 8 MB. It is served on loopback. Aim: at most 10 MB and 2 s. Exit 1 where that is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ollama_fleet.artifacts.families import family
from ollama_fleet.artifacts.gguf import facts_of_file, facts_of_url
from ollama_fleet.artifacts.http_source import HttpOptions
from unit.artifacts.gguf_files import shape_metadata, shape_tensors, write_model
from unit.artifacts.range_server import RangeServer

MOST_BYTES, MOST_SECONDS = 10 * 10**6, 2.0


def main() -> int:
    shape = family("deepseek-r1").sizes["70b"].models["Q4_K_M"].shape
    with tempfile.TemporaryDirectory() as folder:
        words = (f"word {number:08}" for number in range(shape.vocabulary))
        tensors = shape_tensors(shape, "Q4_K_M")
        path = write_model(
            Path(folder) / "70b.gguf", tensors, shape_metadata(shape), file_type=15, vocabulary=words
        )
        size = path.stat().st_size
        with RangeServer({"/70b": path}) as server:
            start = time.perf_counter()
            facts = facts_of_url(f"{server.url}/70b", HttpOptions(insecure=True))
            seconds = time.perf_counter() - start
        start = time.perf_counter()
        assert facts == facts_of_file(path)
        local = time.perf_counter() - start
        tracemalloc.start()
        facts_of_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    print(
        f"{size / 1e9:.1f} GB, {facts.parameters / 1e9:.1f} · 10^9 parameters, {facts.total_bytes} tensor bytes"
    )
    print(
        f"over HTTP: {server.sent / 1e6:.2f} MB in {server.requests} requests, {seconds:.2f} s (aim: 10 MB, 2 s)"
    )
    print(f"from a file: {local:.2f} s; at most {peak / 2**20:.1f} MiB of memory")
    return int(server.sent > MOST_BYTES or seconds > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
