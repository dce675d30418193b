"""Two servers behind one front door, each by a path of its own, and who is let in by which."""

from __future__ import annotations

from converge.door_table import ALICE
from converge.front_door import FrontDoor

INSTANCES = [
    {"name": name, "devices": [], "models": models}
    for name, models in {"one": ["reasoner"], "two": []}.items()
]
BY_INSTANCE = {
    ("GET", "/one/api/tags"): 200,
    ("GET", "/two/api/tags"): 200,
    ("GET", "/api/tags"): 404,
    ("GET", "/three/api/tags"): 404,
    ("POST", "/one/api/pull"): 403,
    ("POST", "/two/../one/api/pull"): 404,
    ("POST", "/one/two/api/chat"): 404,
    ("POST", "/one//api/chat"): 404,
}
"""What a client without an administrator's token is answered."""


def path_status(door: FrontDoor, method: str, path: str) -> int:
    """What a client is answered there."""
    return door.status(method, path, ALICE, b"{}" if method == "POST" else None)
