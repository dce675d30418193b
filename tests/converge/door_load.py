"""What a front door has to hand on whole: answers in pieces, and those of a crowd."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from converge.door_table import ALICE, OPS
from converge.front_door import FrontDoor
from lab.tiny_gguf import tiny_gguf


def pieces(door: FrontDoor) -> None:
    """Each piece of an answer arrives before the next is made."""
    with door.recording():
        connection = door.http()
        connection.request("POST", "/api/generate", b"{}", {"Authorization": f"Bearer {ALICE}"})
        answer = connection.getresponse()
        for number in range(3):
            if number:
                door.host.run(["touch", f"/var/lib/go-{number}"])
            # Were it held back anywhere, this would wait for what is sent only once it is here.
            assert json.loads(answer.readline())["response"] == str(number)
        assert answer.read() == b""
        connection.close()


def crowd(door: FrontDoor, clients: int, seconds: float, least: int) -> None:
    """So many clients at once, each asking again as soon as it has its answer: every one gets it whole."""
    ending = time.monotonic() + seconds

    def ask(_: int) -> list[tuple[int, bool]]:
        connection, told = door.http(), []
        while len(told) < least or time.monotonic() < ending:
            body = b'{"model": "reasoner", "prompt": "why"}'
            connection.request("POST", "/api/generate", body, {"Authorization": f"Bearer {ALICE}"})
            answer = connection.getresponse()
            lines = answer.read().splitlines()
            told.append((answer.status, json.loads(lines[-1])["done"]))
        connection.close()
        return told

    with ThreadPoolExecutor(clients) as pool:
        found = [one for told in pool.map(ask, range(clients)) for one in told]
    assert set(found) == {(200, True)}
    assert len(found) >= clients * least


@contextmanager
def long_answer(door: FrontDoor, folder: Path) -> Iterator[None]:
    """An answer that is on its way meanwhile, and must go on afterwards: a slow pull by an administrator."""
    name = "library/slow"
    door.lab.registry.push_gguf(name, tiny_gguf(folder / "slow.gguf", layers=4, seed=9))
    door.lab.registry.set_faults(bytes_per_second=300)
    connection = door.http()
    try:
        body = json.dumps({"model": f"{door.lab.registry.host}/{name}", "insecure": True}).encode()
        connection.request("POST", "/api/pull", body, {"Authorization": f"Bearer {OPS}"})
        stream = connection.getresponse()
        assert stream.status == 200
        assert b"pulling" in stream.readline()
        yield
        for _ in range(3):
            assert b"total" in stream.readline()
    finally:
        connection.close()
        door.lab.registry.set_faults()
