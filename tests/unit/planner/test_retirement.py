"""What goes when a host is retired: never a blob of a model that stays, nothing that was there before us."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.manifest import Manifest
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.planner.before import NO_GROUP, NO_USER, absent_line
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.retirement import Retirement, retirement
from ollama_fleet.planner.state import (
    Account,
    FileState,
    HostState,
    InstalledVersion,
    ModelStore,
    ReleaseState,
    StoredModel,
)
from ollama_fleet.spec.fleet import Fleet
from unit.planner.states import FRESH
from unit.planner.test_prune import NAMES, manifests, stored

SYSTEM = Layout.of("system")
DIRECTORY = FileState("directory", 0o755, "root", "root")
MADE = (SYSTEM.service_home, f"{SYSTEM.service_home}/.ollama", SYSTEM.models, SYSTEM.state, SYSTEM.releases)


def retired(state: HostState, names: list[str], **options: bool) -> Retirement:
    models = {f"m{index}": {"from": name, "num_ctx": 512, "num_gpu": 0} for index, name in enumerate(names)}
    document = {
        "version": 1,
        "release": {"version": "0.24.0"},
        "models": models,
        "hosts": {"pc": {"models": list(models)}},
    }
    (spec,) = Fleet.parse(json.dumps(document)).hosts
    return retirement(spec, state, SYSTEM, **options)


def known(*lines: str) -> HostState:
    """A host with our directories and account, of which these lines tell what was not there."""
    files: dict[str, FileState] = dict.fromkeys(("/usr/share", *MADE), DIRECTORY)
    text = "".join(f"{line}\n" for line in lines).encode()
    files[SYSTEM.before] = FileState("file", 0o644, "root", "root", content=text)
    accounts = {"ollama": Account("ollama", 999, "ollama", frozenset(), SYSTEM.service_home)}
    return replace(FRESH, files=files, accounts=accounts, groups=frozenset({"ollama"}))


@settings(deadline=None)
@given(
    models=st.dictionaries(st.sampled_from([*NAMES, "m0", "fleet-import/x:sha256-1"]), manifests, max_size=6),
    declared=st.lists(st.sampled_from(["gemma3", "qwen3:8b", "me/own"]), max_size=2, unique=True),
    all_models=st.booleans(),
    broken=st.booleans(),
)
def test_what_stays_is_whole(
    models: Mapping[str, bytes], declared: list[str], all_models: bool, broken: bool
) -> None:
    state = stored({str(ModelName.parse(name)): raw for name, raw in models.items()})
    if broken:
        unreadable = StoredModel(ModelName.parse("broken"), b"{")
        store = ModelStore((*state.store.models, unreadable), state.store.blob_sizes)
        state = replace(state, store=store)
    plan = retired(state, declared, all_models=all_models)

    ours = {ModelName.parse(name) for name in (*declared, *(f"m{index}" for index in range(len(declared))))}
    for one in plan.models.staying:
        assert not all_models
        assert one.name not in ours
        if one.manifest != b"{":
            assert not Manifest.parse(one.manifest).blobs.keys() & set(plan.models.blobs)
    assert {one.name for one in (*plan.models.going, *plan.models.staying)} == {
        one.name for one in state.store.models
    }
    if broken and not all_models:
        # Nobody can tell what it needs.
        assert plan.models.blobs == ()
    assert retired(state, declared, keep_models=True).models.going == ()


def test_only_what_was_not_there_before_us() -> None:
    ours = known(NO_USER, NO_GROUP, *map(absent_line, MADE))
    plan = retired(ours, [])
    assert plan.account
    assert plan.trees == (SYSTEM.state, SYSTEM.service_home)
    assert plan.directories[-1] == SYSTEM.releases

    nothing_known = retired(known(), [])
    assert not nothing_known.account
    assert nothing_known.trees == (SYSTEM.state,)
    assert "/usr/share" not in nothing_known.directories
    assert any("user ollama" in line for line in nothing_known.stays)


def test_home_stays_around_models_that_stay() -> None:
    ours = known(NO_USER, NO_GROUP, *map(absent_line, MADE))
    state = replace(ours, store=ModelStore((StoredModel(ModelName.parse("mine"), b"{"),)))
    assert retired(state, []).trees == (SYSTEM.state,)
    assert retired(state, [], all_models=True).trees == (SYSTEM.state, SYSTEM.service_home)
    assert retired(ours, [], keep_models=True).trees == (SYSTEM.state,)


def test_releases_that_we_unpacked_and_the_link_to_them() -> None:
    there = ReleaseState(
        "0.24.0",
        "0.23.0",
        SYSTEM.binary,
        {
            "0.24.0": InstalledVersion(f"{'a' * 64} seen", "seen", 5),
            "0.23.0.old": InstalledVersion("", None, 5),
            "mine": InstalledVersion("", None, 5),
        },
    )
    plan = retired(replace(known(), release=there), [])
    assert plan.releases == ("0.23.0.old", "0.24.0")
    assert set(plan.links) == {SYSTEM.current, f"{SYSTEM.releases}/previous", SYSTEM.command}
    elsewhere = retired(replace(known(), release=replace(there, command_target="/snap/bin/ollama")), [])
    assert SYSTEM.command not in elsewhere.links


def test_nothing_of_ours() -> None:
    assert retired(FRESH, ["gemma3"]).goes == ()
