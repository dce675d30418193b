"""Who gets in through a front door: networks, tokens, endpoints and IP versions, and what should come of each."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from converge.front_door import FrontDoor
from converge.outside_view import connects
from lab.client import Client

ALICE, OPS, WRONG = (secrets.token_hex(32) for _ in range(3))
NETWORKS = ("lan", "office", "outside")
USING = [
    ("GET", "/"),
    ("HEAD", "/api/tags"),
    ("GET", "/api/ps"),
    ("POST", "/api/show"),
    ("GET", "/v1/models"),
]
CHANGING = [
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", f"/api/blobs/sha256:{'0' * 64}"),
    ("HEAD", f"/api/blobs/sha256:{'0' * 64}"),
]

Asked = tuple[int, str, str, str | None]
"""IP version, method, path and token."""
EVERYTHING: list[Asked] = [
    (family, method, path, token)
    for family, (method, path), token in product((4, 6), [*USING, *CHANGING], (None, WRONG, ALICE, OPS))
]


def wrongly_let_in(
    door: FrontDoor, allowed: Collection[str], asked: Sequence[Asked] = EVERYTHING
) -> list[object]:
    """Ask all this from each network, and return what is otherwise than it should be.

    Args:
        door: with the tokens of this file, in whose server's place something records.
        allowed: names of the networks that may reach it.
        asked: what is asked.
    """
    door.forget()
    wrong: list[object] = []
    right: Counter[tuple[str | None, str | None]] = Counter()
    for network in NETWORKS:
        # A port that is shut costs all of the patience, one that is open must not fail on a slow machine.
        patience = 30.0 if network in allowed else 1.5
        for request, status in zip(asked, door.ask(network, asked, patience), strict=True):
            family, method, path, token = request
            should = expected(method, path, token) if network in allowed else "shut"
            right[method, path] += should == 200
            if status != should:
                wrong.append((network, family, method, path, _names(token), status))
    reached = Counter((method, path) for method, path, _, _ in door.recorded())
    if reached != +right:
        wrong.append(("reached the server", reached - right, "did not", right - reached))
    told = {(authorization, host) for _, _, authorization, host in door.recorded()}
    if told - {(None, "127.0.0.1:11434")}:
        wrong.append(("the server was told", told))
    return wrong + _ways_past_it(door)


def expected(method: str, path: str, token: str | None) -> int:
    """What the door answers to those who reach it."""
    if token not in (ALICE, OPS):
        return 401
    return 403 if token == ALICE and (method, path) in CHANGING else 200


def _ways_past_it(door: FrontDoor) -> list[object]:
    """From where the server's own port can be reached: from nowhere."""
    clients = (("office", door.lab.office), ("outside", door.lab.outside))
    places = list(product(clients, (4, 6)))

    def tried(place: tuple[tuple[str, Client], int]) -> str:
        (network, client), family = place
        return connects(client, door.address(network, family))

    with ThreadPoolExecutor(len(places)) as pool:
        told = list(pool.map(tried, places))
    return [
        (network, family, "reaches the server itself")
        for ((network, _), family), found in zip(places, told, strict=True)
        if found == "connected"
    ]


def _names(token: str | None) -> str:
    return {ALICE: "alice", OPS: "ops", WRONG: "wrong", None: "none"}[token]
