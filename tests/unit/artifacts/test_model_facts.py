from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.facts_json import FactsError
from ollama_fleet.artifacts.families import family
from ollama_fleet.artifacts.lock import Lock
from ollama_fleet.artifacts.lock_entries import FileLock
from ollama_fleet.artifacts.model_facts import Experts, LayerRun, ModelFacts

SIZES = st.integers(0, 2**40)
RUNS = st.lists(
    st.builds(
        LayerRun,
        count=st.integers(1, 90),
        dense_bytes=SIZES,
        expert_bytes=SIZES,
        attention=st.sampled_from(["full", "window", "latent", "none"]),
        kv_heads=st.integers(0, 200),
        recurrent=st.booleans(),
    ),
    max_size=30,
)


def facts(runs: list[LayerRun], **more: Any) -> ModelFacts:
    base = family("deepseek-r1").sizes["7b"].models["Q4_K_M"].facts
    fields = {name: getattr(base, name) for name in ModelFacts.__dataclass_fields__}
    fields |= {"layers": tuple(runs), "block_count": sum(run.count for run in runs)}
    return ModelFacts(**fields | more)


@given(RUNS, st.none() | st.builds(Experts, count=st.integers(0, 999), used=st.integers(0, 99)))
def test_facts_survive_json_and_the_lock(runs: list[LayerRun], experts: Experts | None) -> None:
    before = facts(runs, experts=experts)
    plain = json.loads(json.dumps(before.to_dict()))
    after = ModelFacts.from_dict(plain)
    assert list(after.each_layer()) != [] or before.block_count == 0
    assert [layer.bytes for layer in after.each_layer()] == [layer.bytes for layer in before.each_layer()]
    assert after.to_dict() == before.to_dict()
    assert after.layer_bytes == before.layer_bytes
    lock = Lock().with_file("./a.gguf", FileLock(sha256="0" * 64, size=1, facts=before.to_dict()))
    again = Lock.loads(lock.dumps().encode()).file("./a.gguf").facts
    assert again is not None
    assert ModelFacts.from_dict(again) == after


def test_alike_layers_are_written_once() -> None:
    plain = family("deepseek-r1").sizes["32b"].models["Q4_K_M"].facts.to_dict()
    assert isinstance(plain["layers"], list)
    assert len(plain["layers"]) == 2
    assert plain["layer_order"].startswith("0*8 1*2 0 1*2 0")  # type: ignore[union-attr]


def test_the_groups_add_up() -> None:
    found = family("deepseek-r1").sizes["671b"].models["Q4_K_M"].facts
    groups = found.token_embd_bytes + found.input_bytes + found.output_bytes + found.output_norm_bytes
    assert found.total_bytes == groups + sum(layer.bytes for layer in found.each_layer())
    assert len(list(found.each_layer())) == found.block_count == 61
    assert found.largest_layer_tensor_bytes == max(layer.largest_bytes for layer in found.each_layer())


def changed(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = dict(family("deepseek-r1").sizes["671b"].models["Q4_K_M"].facts.to_dict())
    return plain | changes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "facts should be a map"),
        ({}, "facts have version null, not 1"),
        (changed(version=2), "facts have version 2, not 1"),
        (changed(version=True), "facts have version true, not 1"),
        (changed(colour="red"), 'facts: unknown key "colour"'),
        (changed(layer_bytes=1), 'facts: unknown key "layer_bytes"'),
        (changed(block_count="61"), 'facts.block_count should be a number from 0 to 2^63 - 1, not "61"'),
        (changed(block_count=True), "facts.block_count should be a number"),
        (changed(block_count=-1), "facts.block_count should be a number"),
        (changed(window=1 << 63), "facts.window should be a number"),
        (changed(block_count=60), "layer_order does not add up to block_count (60)"),
        (changed(tied_embeddings=1), "facts.tied_embeddings should be true or false, not 1"),
        (changed(name="a\nb"), "facts.name should be a short text"),
        (changed(experts=[]), "facts.experts should be a map"),
        (changed(experts={"count": 1}), "facts.experts.used is missing"),
        (changed(layers={}), "facts.layers should be a list"),
        (changed(layers=[1]), "facts.layers[0] should be a map"),
        (changed(layers=[{"attention": "blind"}]), "facts.layers[0].attention should be one of full, window"),
        (changed(layer_order=None), "facts.layer_order is missing"),
        (changed(layer_order="0*3 9"), 'facts.layer_order has "9", which is no kind of layer'),
        (changed(layer_order="0*3 x"), 'facts.layer_order has "x", which is no kind of layer'),
        (changed(layers=[{"dense_bytes": (1 << 63) - 1}], layer_order="0*61"), "more bytes than any file"),
    ],
)
def test_what_is_no_facts_is_refused(data: object, expected: str) -> None:
    with pytest.raises(FactsError) as caught:
        ModelFacts.from_dict(data)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "run `ollama-fleet lock`" in str(caught.value)


WORDS = st.sampled_from(["version", "layers", "layer_order", "experts", "count", "name"])
ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
    max_leaves=9,
)


@given(ANYTHING)
def test_anything_else_is_refused_too(data: object) -> None:
    with pytest.raises(FactsError):
        ModelFacts.from_dict(data)
