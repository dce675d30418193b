"""What is locked stays until somebody asks for another; what the fleet does not need goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_changes import lock_changes
from ollama_fleet.artifacts.lock_entries import ModelLock
from ollama_fleet.artifacts.locking import LockingError
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.locking import make_lock
from unit.deploys.local_fleet import DECLARED, Registry, gguf, local_fleet


class Scene:
    """A fleet that has been locked, and ways in which the world moves on."""

    def __init__(self, folder: Path, registry: Registry, releases: str) -> None:
        self.folder, self.registry, self.releases = folder, registry, releases
        self.fleet = local_fleet(folder, registry, releases, DECLARED)
        self.lock = make_lock(self.fleet)
        self.host = registry.server.host
        registry.server.requests.clear()

    def name(self, tag: str) -> str:
        return f"{self.host}/library/tiny:{tag}"

    def retag(self, tag: str) -> None:
        other = gguf(self.folder / "other.gguf", "F16").read_bytes()
        self.registry.push("tiny", tag, other)

    def rebuild_release(self, architecture: str = "amd64") -> None:
        path = self.folder / f"releases/ollama-linux-{architecture}.tar.zst"
        path.write_bytes(b"other bytes")

    def changed(self, lock: Lock) -> dict[str, str]:
        changes = lock_changes(self.lock, lock)
        return {f"{item.kind} {item.name}": item.change for item in changes if item.change != "kept"}


@pytest.fixture
def scene(tmp_path: Path, registry: Registry, releases: str) -> Scene:
    return Scene(tmp_path, registry, releases)


def test_a_complete_lock_is_kept_without_asking_anybody(scene: Scene) -> None:
    scene.retag("q8_0")
    scene.rebuild_release()
    told: list[str] = []

    assert make_lock(scene.fleet, scene.lock, told=told.append) == scene.lock
    assert told == []
    assert scene.registry.server.requests == []


def test_only_what_is_missing_is_looked_up(scene: Scene) -> None:
    scene.retag("q8_0")
    kept = Lock(
        releases=scene.lock.releases,
        models={name: model for name, model in scene.lock.models.items() if name != scene.name("q4_k_m")},
        files=scene.lock.files,
    )

    assert make_lock(scene.fleet, kept) == scene.lock
    assert scene.registry.manifests_asked_for == {"q4_k_m"}


def test_what_nothing_needs_is_dropped(scene: Scene) -> None:
    used = scene.lock.with_release("0.1.0", scene.lock.release("0.32.15"))
    used = used.with_model(ModelName.parse("old/model"), scene.lock.models[scene.name("q8_0")])
    used = used.with_file("./old.gguf", scene.lock.file("./mine.gguf"))

    assert make_lock(scene.fleet, used) == scene.lock


@pytest.mark.parametrize(
    ("update", "changed"),
    [
        (["open"], {"model {host}/library/tiny:q8_0"}),
        (["{host}/library/TINY:Q8_0"], {"model {host}/library/tiny:q8_0"}),
        (["{host}/library/tiny:q4_k_m"], set()),
        (["mine"], {"file ./mine.gguf"}),
        (["./mine.gguf"], {"file ./mine.gguf"}),
        (["0.32.15"], {"release 0.32.15 linux-amd64"}),
        (["v0.32.15", "open"], {"release 0.32.15 linux-amd64", "model {host}/library/tiny:q8_0"}),
        ([], {"release 0.32.15 linux-amd64", "model {host}/library/tiny:q8_0", "file ./mine.gguf"}),
    ],
)
def test_an_update_touches_what_is_named(update: list[str], changed: set[str], scene: Scene) -> None:
    scene.retag("q8_0")
    scene.rebuild_release()
    gguf(scene.folder / "mine.gguf", "Q8_0")
    names = [name.format(host=scene.host) for name in update]

    found = scene.changed(make_lock(scene.fleet, scene.lock, names))
    assert set(found) == {name.format(host=scene.host) for name in changed}
    assert set(found.values()) <= {"updated"}


def test_a_name_that_means_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(LockingError) as caught:
        make_lock(scene.fleet, scene.lock, ["opem"])
    assert str(caught.value) == ('"opem" is no release, model or base that is locked; did you mean "open"?')


def test_another_source_gives_another_place_and_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (tmp_path / "releases").rename(mirror)
    moved = local_fleet(tmp_path, scene.registry, mirror.as_uri(), DECLARED)

    lock = make_lock(moved, scene.lock)
    before, after = (one.archive("0.32.15", "linux-amd64") for one in (scene.lock, lock))
    assert after.url == f"{mirror.as_uri()}/{after.name}"
    assert after.sha256 == before.sha256

    scene.releases = mirror.as_uri()
    (mirror / after.name).write_bytes(b"other bytes")
    with pytest.raises(LockingError) as caught:
        make_lock(moved, scene.lock)
    assert f", locked is {before.sha256}; " in str(caught.value)
    assert str(caught.value).endswith("run `ollama-fleet lock --update 0.32.15`")
    assert make_lock(moved, scene.lock, ["0.32.15"]).archive("0.32.15", "linux-amd64").sha256 != before.sha256


def test_facts_that_cannot_be_read_are_read_anew_of_the_same_model_only(scene: Scene) -> None:
    name = scene.name("q8_0")
    broken = ModelLock.model_validate(
        {**scene.lock.models[name].model_dump(), "facts": {"format": "of another time"}}
    )
    old = scene.lock.with_model(ModelName.parse(name), broken)
    assert make_lock(scene.fleet, old) == scene.lock

    scene.retag("q8_0")
    with pytest.raises(LockingError) as caught:
        make_lock(scene.fleet, old)
    assert f"locked is {broken.digest}; " in str(caught.value)
    assert str(caught.value).endswith(f"run `ollama-fleet lock --update {name}`")


def test_a_host_that_comes_to_need_another_archive(scene: Scene, tmp_path: Path) -> None:
    only_arm = Lock(
        releases={
            "0.32.15": scene.lock.release("0.32.15").model_copy(
                update={"archives": {"linux-arm64": scene.lock.archive("0.32.15", "linux-arm64")}}
            )
        },
        models=scene.lock.models,
        files=scene.lock.files,
    )
    assert make_lock(scene.fleet, only_arm) == scene.lock
