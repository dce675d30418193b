"""What an apply would fetch, held against what is free."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import FileLock, LayerLock, Lock, ModelLock
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.disk import DiskNeed, disk_needs, shortage
from ollama_fleet.planner.items.model import WantedBase, WantedImport
from ollama_fleet.planner.items.release import Archive, WantedRelease
from ollama_fleet.planner.sizes import GIB
from ollama_fleet.planner.state import DiskState, HostState, InstalledVersion, ModelStore, ReleaseState
from unit.planner.states import FRESH, SYSTEM

ARCHIVE = Archive("ollama-linux-amd64.tar.zst", "https://mirror/x.tar.zst", "a" * 64, 100)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def model_lock(*layers: tuple[int, int]) -> ModelLock:
    """A model of layers, each a number and its size."""
    config = LayerLock(
        media_type="application/vnd.docker.container.image.v1+json", digest=digest(999), size=1
    )
    made = [
        LayerLock(media_type="application/vnd.ollama.image.model", digest=digest(number), size=size)
        for number, size in layers
    ]
    return ModelLock(
        digest=digest(1000 + layers[0][0]),
        size=1 + sum(size for _, size in layers),
        config_layer=config,
        layers=made,
    )


ONE, TWO = ModelName.parse("one"), ModelName.parse("two")
LOCK = (
    Lock()
    .with_model(ONE, model_lock((1, 1000), (2, 10)))
    .with_model(TWO, model_lock((1, 1000), (3, 20)))
    .with_file("./m.gguf", FileLock(sha256="b" * 64, size=500))
)


def base(name: ModelName) -> WantedBase:
    locked = LOCK.model(name)
    return WantedBase(name, locked.digest, frozenset(locked.manifest().blobs), locked.size)


IMPORT = WantedImport(ModelName.parse("fleet-import/m:sha256-bb"), "./m.gguf", "b" * 64, 500)


def needs(
    *bases: WantedBase | WantedImport, state: HostState = FRESH, version: str = "0.24.0"
) -> dict[str, int]:
    release = WantedRelease(version, (ARCHIVE,), SYSTEM)
    return {need.what: need.size for need in disk_needs(release, bases, LOCK, state, SYSTEM)}


def installed(version: str = "0.24.0") -> HostState:
    stamp = f"{'a' * 64} evidence"
    return replace(
        FRESH, release=ReleaseState(current=version, versions={version: InstalledVersion(stamp, None)})
    )


def test_a_release_needs_its_archive_and_at_least_as_much_unpacked() -> None:
    assert needs() == {"release 0.24.0": 200}
    assert needs(state=installed()) == {}
    part = {f"{'a' * 16}-{ARCHIVE.name}": 60}
    assert needs(state=replace(FRESH, release=ReleaseState(downloads=part))) == {"release 0.24.0": 140}


def test_layers_that_two_models_share_are_fetched_once() -> None:
    assert needs(base(ONE), base(TWO), state=installed()) == {"base one:latest": 1011, "base two:latest": 20}


def test_what_is_there_whole_or_in_part_is_not_fetched_again() -> None:
    store = ModelStore(blob_sizes={digest(2): 10, digest(999): 7}, partial_sizes={digest(1): 400})
    there = replace(installed(), store=store)
    # The config is there in another size, so it is removed and fetched anew.
    assert needs(base(ONE), state=there) == {"base one:latest": 601}


def test_a_file_takes_twice_its_size_where_the_engine_rewrites_it() -> None:
    assert needs(IMPORT, state=installed()) == {IMPORT_WHAT: 500}
    newer = installed("0.32.15")
    assert needs(IMPORT, state=newer, version="0.32.15") == {IMPORT_WHAT: 1000}
    uploaded = replace(newer, store=ModelStore(blob_sizes={"sha256:" + "b" * 64: 500}))
    assert needs(IMPORT, state=uploaded, version="0.32.15") == {IMPORT_WHAT: 500}


IMPORT_WHAT = "import fleet-import/m:sha256-bb"


def disks(releases: int, models: int, *, one: bool = False) -> HostState:
    return replace(
        FRESH,
        disks={
            SYSTEM.releases: DiskState("1", releases),
            SYSTEM.models: DiskState("1" if one else "2", models),
        },
    )


R, M = DiskNeed("release 1", SYSTEM.releases, 2 * GIB), DiskNeed("base m", SYSTEM.models, 3 * GIB)


@pytest.mark.parametrize(
    ("state", "short"),
    [
        (disks(2 * GIB, 3 * GIB), False),
        (disks(2 * GIB - 1, 9 * GIB), True),
        (disks(9 * GIB, 3 * GIB - 1), True),
        (disks(5 * GIB, 5 * GIB, one=True), False),
        (disks(4 * GIB, 4 * GIB, one=True), True),
        (FRESH, False),
    ],
)
def test_each_disk_must_have_room_for_all_that_goes_there(state: HostState, short: bool) -> None:
    assert (shortage([R, M], state) is not None) == short


def test_the_line_has_both_sizes_and_the_largest() -> None:
    small = [DiskNeed(f"base s{number}", SYSTEM.models, 1 << 20) for number in range(3)]
    assert shortage([*small, M], disks(0, GIB)) == (
        "the disk of /usr/share/ollama/.ollama/models has 1.0 GiB free, and 3.0 GiB are needed: base m 3.0 GiB, "
        "base s0 1.0 MiB, base s1 1.0 MiB and 1 more; nothing was fetched. "
        "Make room, or set models_dir to a larger disk"
    )


def test_nothing_to_fetch_needs_no_room() -> None:
    assert shortage([DiskNeed("base m", SYSTEM.models, 0)], disks(0, 0)) is None


@given(st.dictionaries(st.sampled_from([1, 2, 3, 999]), st.integers(0, 1200)))
def test_more_on_the_disk_never_needs_more_room(there: dict[int, int]) -> None:
    whole = needs(base(ONE), base(TWO), state=installed())
    partial = {digest(number): size for number, size in there.items()}
    less = needs(base(ONE), base(TWO), state=replace(installed(), store=ModelStore(partial_sizes=partial)))
    assert all(0 <= less[what] <= whole[what] for what in whole)
