"""Feeds mutated headers to the reader, in a process of its own with little memory.

    python -m unit.artifacts.hostile_headers SEED COUNT

prints how many were read and refused. Anything but facts or a refusal of one line ends it with an error; so
does memory beyond 256 MiB more than the start took, and one header that takes ten seconds of CPU time.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import struct
import sys
import tempfile
from pathlib import Path

from ollama_fleet.artifacts.gguf import GgufError, facts_of_blobs
from ollama_fleet.artifacts.model_facts import ModelFacts
from ollama_fleet.artifacts.tensor_shapes import Shape
from unit.artifacts.gguf_files import TINY_LLAMA, shape_metadata, shape_tensors, write_model

MEMORY = 256 << 20
SECONDS = 10
TINY_MOE = Shape(
    "deepseek2", 3, 256, 4, 4, 512, 320, 2048, 0, 0, 8, 2, 1, 256, 1, 256, 256, 64, 128, 64, both_projections=True
)  # fmt: skip
# What counts and lengths are replaced with: borders of signs, sizes and limits.
NUMBERS = [0, 1, 2, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63]
NUMBERS += [(1 << 64) - 1, (1 << 64) - 8]


def seeds(folder: Path) -> list[bytes]:
    """Valid headers to start from, with the first bytes of their tensors."""
    found = []
    for number, (shape, big_endian) in enumerate(
        [(TINY_LLAMA, False), (TINY_LLAMA, True), (TINY_MOE, False)]
    ):
        path = write_model(
            folder / f"{number}.gguf",
            shape_tensors(shape, "Q4_K_M"),
            shape_metadata(shape)
            | {f"{shape.architecture}.attention.sliding_window_pattern": [True, False, True]},
            architecture=shape.architecture,
            file_type=15,
            vocabulary=[f"t{word}" for word in range(60)],
            big_endian=big_endian,
        )
        with path.open("rb") as stream:
            found.append(stream.read(24_000))
    return found


def mutated(seed: bytes, random: random.Random) -> bytes:
    """One to eight changes: a number at a border, a bit, a piece moved, doubled, removed, the end cut off."""
    data = bytearray(seed)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        at = random.randrange(max(1, len(data) - 8))
        match random.randrange(6):
            case 0:
                data[at : at + 8] = struct.pack("<Q", random.choice(NUMBERS))
            case 1:
                data[at : at + 4] = struct.pack("<I", random.choice(NUMBERS) & 0xFFFFFFFF)
            case 2:
                data[at] ^= 1 << random.randrange(8)
            case 3:
                piece = data[at : at + random.randrange(1, 200)]
                to = random.randrange(len(data))
                data[to:to] = piece
            case 4:
                del data[at : at + random.randrange(1, 200)]
            case 5:
                del data[at:]
        if not data:
            data = bytearray(b"G")
    return bytes(data)


def check(data: bytes, size: int) -> bool:
    """Read one header out of a file said to have `size` bytes; whether it was taken."""

    def read(start: int, length: int) -> bytes:
        return data[start : start + length].ljust(min(length, max(0, size - start)), b"\0")

    try:
        facts = facts_of_blobs([(read, size)], headers_only=True)
    except GgufError as error:
        message = str(error)
        assert message.isprintable(), message
        assert 0 < len(message) < 500, message
        return False
    assert ModelFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    return True


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        headers = seeds(Path(folder))
    for data in headers:
        assert check(data, 10**9), "a seed is not read"
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def too_long(*_: object) -> None:
        raise AssertionError(f"header {done} of seed {seed} took more than {SECONDS} s of CPU time")

    signal.signal(signal.SIGVTALRM, too_long)
    taken = done = 0
    while done < count:
        data = mutated(chance.choice(headers), chance)
        size = chance.choice([len(data), len(data), 10**6, 10**9])
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        taken += check(data, size)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        done += 1
    print(f"{count} mutated headers: {taken} read, {count - taken} refused")


if __name__ == "__main__":
    main()
