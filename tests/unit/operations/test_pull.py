"""What a pull does to a server whose registry has moved on; the server here is a double that notes its calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from ollama_fleet.api.client import Ollama, Progress, TaggedModel
from ollama_fleet.api.errors import Unreachable
from ollama_fleet.artifacts.manifest import Manifest
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.operations.context import StepFailed
from ollama_fleet.operations.pull import WORTH_STOPPING, pull_locked
from ollama_fleet.planner.items.model import WantedBase

NAME = "m:latest"


def manifest(weights: str, *, spaced: bool = False) -> bytes:
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": f"sha256:{'c' * 64}",
        "size": 1,
    }
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{weights * 64}", "size": 9}
    document = {"schemaVersion": 2, "config": config, "layers": [layer]}
    return json.dumps(document, indent=1 if spaced else None).encode()


LOCKED, OTHER = manifest("a"), manifest("b")


def wanted() -> WantedBase:
    parsed = Manifest.parse(LOCKED)
    return WantedBase(ModelName.parse("m"), parsed.digest, frozenset(parsed.blobs), 10)


@dataclass
class Server:
    """A server with models by name, whose registry serves `upstream`."""

    upstream: bytes
    number: str = "0.24.0"
    left: int = 0
    """Bytes of the weights that are still to come when they are first told."""
    broken: bool = False
    models: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def version(self) -> str:
        return self.number

    def tags(self) -> list[TaggedModel]:
        digests = {
            name: Manifest.parse(data).digest.removeprefix("sha256:") for name, data in self.models.items()
        }
        return [TaggedModel(name, digest, 1) for name, digest in digests.items()]

    def copy(self, source: str, destination: str) -> None:
        self.calls.append(f"copy {source} {destination}")
        self.models[destination] = self.models[source]

    def delete(self, name: str) -> None:
        self.calls.append(f"delete {name}")
        self.models.pop(name, None)

    def pull(self, name: str, *, insecure: bool, told: Any) -> None:
        self.calls.append("pull")
        if self.broken:
            raise Unreachable("POST /api/pull: the stream ended early")
        for digest in Manifest.parse(self.upstream).blobs:
            told(Progress(f"pulling {digest[7:19]}", digest, 0, self.left))
        self.models[name] = self.upstream
        self.calls.append("written")


class Host:
    """A host on whose disk the server's manifest lies."""

    data: dict[str, object] = {}  # noqa: RUF012 - read only

    def __init__(self, server: Server) -> None:
        self.server = server

    def run_shell_command(self, command: object, **_: object) -> tuple[bool, Any]:
        @dataclass
        class Output:
            stdout: str

        return True, Output(self.server.models[NAME].decode())


def pull(server: Server) -> None:
    pull_locked(cast("Ollama", server), cast("Any", Host(server)), wanted(), "/models", lambda _: None)


def test_what_is_locked_takes_the_place() -> None:
    server = Server(LOCKED, models={NAME: OTHER})
    pull(server)
    assert server.models == {NAME: LOCKED}


@pytest.mark.parametrize("had", [{}, {NAME: manifest("d")}])
def test_what_is_not_locked_goes_and_what_was_there_comes_back(had: dict[str, bytes]) -> None:
    server = Server(OTHER, models=dict(had))
    with pytest.raises(StepFailed) as caught:
        pull(server)
    assert server.models == had
    other, locked = (Manifest.parse(data).digest for data in (OTHER, LOCKED))
    assert f"{NAME} came with digest {other}, locked is {locked}; " in str(caught.value)


def test_a_large_layer_that_is_not_locked_is_not_waited_for() -> None:
    server = Server(OTHER, left=WORTH_STOPPING + 1, models={NAME: manifest("d")})
    with pytest.raises(StepFailed, match=f"a layer that is not locked, sha256:{'b' * 64}, locked is sha256:"):
        pull(server)
    assert "written" not in server.calls
    assert server.models == {NAME: manifest("d")}


def test_a_broken_pull_leaves_what_was_there() -> None:
    server = Server(LOCKED, broken=True, models={NAME: OTHER})
    with pytest.raises(Unreachable):
        pull(server)
    assert server.models == {NAME: OTHER}


def test_what_a_killed_run_has_kept_is_what_comes_back() -> None:
    good = manifest("d")
    server = Server(OTHER, models={NAME: good})
    with pytest.raises(StepFailed):
        pull(server)
    (kept,) = {call.split()[2] for call in server.calls if call.startswith(f"copy {NAME} ")}
    # Killed after the server has written what is not locked, and before it could be undone.
    killed = Server(OTHER, models={NAME: OTHER, kept: good})
    with pytest.raises(StepFailed):
        pull(killed)
    assert killed.models == {NAME: good}


@pytest.mark.parametrize(("upstream", "right"), [(manifest("a", spaced=True), True), (OTHER, False)])
def test_a_server_that_writes_manifests_anew_is_judged_by_the_layers(upstream: bytes, right: bool) -> None:
    server = Server(upstream, number="0.9.6")
    if right:
        pull(server)
        assert server.models == {NAME: upstream}
    else:
        with pytest.raises(StepFailed):
            pull(server)
        assert server.models == {}
