"""What nobody declares any more, and that nothing which a declared model needs is ever among it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.manifest import CONFIG_MEDIA_TYPE, Manifest, media_type
from ollama_fleet.artifacts.names import ModelName
from ollama_fleet.deploys.source import load_templates
from ollama_fleet.planner.host_plan import HostPlan, plan_host
from ollama_fleet.planner.items.prune import PrunedModel
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.prune import undeclared
from ollama_fleet.planner.state import (
    FileState,
    HostState,
    InstalledVersion,
    ModelStore,
    ReleaseState,
    StoredModel,
)
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.model_request import Candidate
from unit.planner.states import FRESH

ARCHIVE = "a" * 64
BLOBS = [f"sha256:{digit * 64}" for digit in "0123456789abcdef"]
SIZES = {digest: 1000 + index for index, digest in enumerate(BLOBS)}
NAMES = ["gemma3", "gemma3:27b", "Gemma3:latest", "qwen3:8b", "hf.co/org/tiny:q4_0", "me/own", "tiny-base"]
TEMPLATES = load_templates(Path("/nonexistent"))


def manifest(config: str, layers: list[str]) -> bytes:
    def layer(kind: str, digest: str) -> dict[str, object]:
        return {"mediaType": kind, "digest": digest, "size": SIZES[digest]}

    return json.dumps(
        {
            "schemaVersion": 2,
            "config": layer(CONFIG_MEDIA_TYPE, config),
            "layers": [layer(media_type("model"), digest) for digest in layers],
        }
    ).encode()


manifests = st.builds(
    manifest,
    st.sampled_from(BLOBS[:4]),
    st.lists(st.sampled_from(BLOBS[4:]), min_size=1, max_size=4, unique=True),
)


def locked(bases: Mapping[str, bytes]) -> Lock:
    models = {}
    for name, raw in bases.items():
        read = Manifest.parse(raw)
        models[ModelName.parse(name).short] = {
            "digest": read.digest,
            "size": read.total_size,
            "config": {"architecture": "llama", "model_format": "gguf", "parameter_size": "1M"},
            "config_layer": {
                "digest": read.config.digest,
                "media_type": CONFIG_MEDIA_TYPE,
                "size": read.config.size,
            },
            "layers": [
                {"digest": layer.digest, "media_type": layer.media_type, "size": layer.size}
                for layer in read.layers
            ],
        }
    archives = {
        "linux-amd64": {"url": "https://mirror/ollama-linux-amd64.tgz", "sha256": ARCHIVE, "size": 10}
    }
    document = {"version": 1, "releases": {"0.24.0": {"archives": archives}}, "models": models}
    return Lock.loads(json.dumps(document).encode())


def plan(
    state: HostState,
    bases: Mapping[str, bytes],
    prune: object = True,
    host: Mapping[str, object] | None = None,
) -> HostPlan:
    """Of a host that serves a model `served-N` of each base."""
    models = {
        f"served-{index}": {"from": base, "num_ctx": 512, "num_gpu": 0} for index, base in enumerate(bases)
    }
    document = {
        "version": 1,
        "release": {"version": "0.24.0"},
        "models": models,
        "hosts": {"pc": {"models": list(models), **(host or {})}},
        "prune": prune,
    }
    (spec,) = Fleet.parse(json.dumps(document)).hosts
    return plan_host(spec, locked(bases), frozenset(), TEMPLATES, {}, state, Layout.of("system"))


def stored(models: Mapping[str, bytes], lost: frozenset[str] = frozenset()) -> HostState:
    sizes = {
        digest: size
        for raw in models.values()
        for digest, size in Manifest.parse(raw).blobs.items()
        if digest not in lost
    }
    there = tuple(StoredModel(ModelName.parse(name), raw) for name, raw in models.items())
    return replace(FRESH, store=ModelStore(there, sizes))


def deleted(store: ModelStore, model: ModelName) -> ModelStore:
    """As a server deletes: the manifest, and the blobs that no other one names."""
    left = tuple(one for one in store.models if one.name != model)
    used = {digest for one in left for digest in Manifest.parse(one.manifest).blobs}
    sizes = {digest: size for digest, size in store.blob_sizes.items() if digest in used}
    return ModelStore(left, sizes)


@settings(deadline=None)
@given(
    bases=st.dictionaries(st.sampled_from(NAMES), manifests, max_size=3),
    others=st.dictionaries(st.sampled_from([*NAMES, "served-0", "served-1:old"]), manifests, max_size=5),
    made=st.dictionaries(st.sampled_from(["served-0", "served-1", "SERVED-2"]), manifests, max_size=3),
    lost=st.frozensets(st.sampled_from(BLOBS), max_size=2),
)
def test_nothing_that_a_declared_model_needs_goes(
    bases: dict[str, bytes], others: dict[str, bytes], made: dict[str, bytes], lost: frozenset[str]
) -> None:
    folded = {ModelName.parse(name): (name, raw) for name, raw in bases.items()}
    bases = dict(folded.values())
    found = {ModelName.parse(name): (name, raw) for name, raw in {**others, **made, **bases}.items()}
    state = stored(dict(found.values()), lost)
    wanted = plan(state, bases)
    before = state.store

    needed = {item.model for item in (*wanted.bases, *wanted.models)}
    whole = {
        one.name: blobs
        for one in before.models
        if one.name in needed
        and (blobs := Manifest.parse(one.manifest).blobs).keys() <= before.blob_sizes.keys()
    }
    after = before
    for item in wanted.pruned:
        assert isinstance(item, PrunedModel)
        assert item.model not in needed
        after = deleted(after, item.model)

    for blobs in whole.values():
        assert blobs.keys() <= after.blob_sizes.keys()
    assert {one.name for one in after.models} == {one.name for one in before.models} & needed
    # Nothing else is told to be freed than what then is; blobs that only a missing base needs may go all the same.
    freed = sum(before.blob_sizes.values()) - sum(after.blob_sizes.values())
    promised = sum(item.frees for item in wanted.pruned)
    assert promised <= freed if set(bases) - {name for name, _ in found.values()} else promised == freed
    assert [item for item, _ in wanted.differences(replace(state, store=after)) if item.kind == "prune"] == []


ONE, TWO = manifest(BLOBS[0], [BLOBS[4], BLOBS[5]]), manifest(BLOBS[1], [BLOBS[5], BLOBS[6]])


def test_a_tag_is_another_model_and_case_is_not() -> None:
    state = stored({"gemma3:27b": TWO, "GEMMA3": ONE})
    (gone,) = plan(state, {"gemma3": ONE}).pruned
    assert gone.name == "model gemma3:27b"
    # The layer that both have in common stays.
    own = SIZES[BLOBS[1]] + SIZES[BLOBS[6]]
    assert (gone.size, gone.frees) == (own + SIZES[BLOBS[5]], own)


def test_reported_with_sizes_and_no_drift_unless_asked() -> None:
    state = stored({"gemma3:27b": TWO})
    for prune in ("report", False):
        wanted = plan(state, {}, prune)
        assert wanted.pruned == ()
        assert any("gemma3:27b (2.9 KiB)" in line for line in wanted.told) == (prune == "report")
    asked = plan(state, {}, "report", {"prune": True})
    assert [item.name for item in asked.pruned] == ["model gemma3:27b"]
    (line,) = [str(found[0]) for item, found in asked.differences(state) if item.kind == "prune"]
    assert line == "model: present, 2.9 KiB to be freed → absent"


def test_unreadable_manifests_and_stubs_of_cloud_models_are_left() -> None:
    stub = StoredModel(ModelName.from_manifest_path("registry.ollama.ai/library/big/120b-cloud"), ONE)
    broken = StoredModel(ModelName.parse("broken"), b"{")
    state = replace(FRESH, store=ModelStore((stub, broken), SIZES))
    assert plan(state, {}).pruned == ()


def test_what_the_planner_may_choose_again_stays() -> None:
    state = stored({"gemma3": ONE, "gemma3:q4_0": TWO, "gemma3:f16": TWO})
    wanted = plan(state, {"gemma3": ONE})
    (placement,) = wanted.placements
    several = tuple(Candidate(tag, f"gemma3:{tag}") for tag in ("latest", "q4_0"))
    open_ = replace(placement, resolved=replace(placement.resolved, candidates=several))
    gone = undeclared([open_], "0.24.0", locked({"gemma3": ONE}), "systemd", state, wanted.layout)
    assert [item.name for item in gone] == ["model gemma3:f16"]


@pytest.mark.parametrize(
    ("current", "previous", "gone"),
    [
        ("0.24.0", "0.23.0", ["0.22.0", "0.23.1.old"]),
        # An upgrade: what is in use becomes the one to go back to.
        ("0.23.0", "0.22.0", ["0.22.0", "0.23.1.old"]),
        ("0.24.0", None, ["0.22.0", "0.23.0", "0.23.1.old"]),
        (None, "0.23.0", ["0.22.0", "0.23.1.old"]),
    ],
)
def test_releases_neither_in_use_nor_to_go_back_to(
    current: str | None, previous: str | None, gone: list[str]
) -> None:
    stamp = InstalledVersion(f"{ARCHIVE} seen", None, 2**30)
    names = {"0.22.0": stamp, "0.23.0": stamp, "0.24.0": stamp, "0.23.1.old": InstalledVersion("", None, 5)}
    # Not unpacked by us: no stamp.
    there = ReleaseState(current, previous, None, {**names, "0.1.0": InstalledVersion("", None, 7)})
    wanted = plan(replace(FRESH, release=there), {})
    assert [item.name for item in wanted.pruned] == [f"release {version}" for version in gone]


def test_files_with_our_mark_only() -> None:
    folder = "/etc/systemd/system/ollama.service.d"
    drop_ins = {
        f"{folder}/fleet.conf": "# Written by ollama-fleet; …\n[Service]\n",
        f"{folder}/own.conf": "[Service]\n",
    }
    state = replace(FRESH, service=replace(FRESH.service, foreign_drop_ins=drop_ins))
    supervisor = Layout.of("system").supervisor
    files = {
        supervisor: FileState(
            "file", 0o700, "root", "root", content=b"#!/bin/sh\n# Written by ollama-fleet: x\n"
        )
    }
    wanted = plan(replace(state, files=files), {})
    assert [item.name for item in wanted.pruned] == [f"file {folder}/fleet.conf", f"file {supervisor}"]
