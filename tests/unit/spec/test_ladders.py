"""The two ladders: who wins, and which line is said to have given a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.merge import Layer, leaves, merge, nested

Path = tuple[str | int, ...]

keys = st.sampled_from("abc")
values = st.none() | st.integers(0, 9) | st.tuples(st.integers(0, 9))
layer_maps = st.recursive(
    st.dictionaries(keys, values, max_size=3),
    lambda inner: st.dictionaries(keys, values | inner, max_size=3),
    max_leaves=8,
)
stacks = st.lists(layer_maps, max_size=5)


def stack(of: Sequence[Mapping[str, object]]) -> list[Layer]:
    return [Layer((f"layer{index}",), layer) for index, layer in enumerate(of)]


def look_up(layer: Mapping[str, object], path: Path) -> tuple[bool, object]:
    """Whether a layer says something about a leaf, and what: the value, or None where it takes it back."""
    here: object = layer
    for step in path:
        if not isinstance(here, Mapping):
            return True, None
        if step not in here:
            return False, None
        here = here[step]
    return (True, None) if isinstance(here, Mapping) else (True, here)


@given(stacks)
@settings(deadline=None)
def test_for_each_leaf_the_last_layer_that_speaks_of_it_wins(layers: list[dict[str, object]]) -> None:
    merged = merge(stack(layers))

    expected: dict[Path, object] = {}
    sources: dict[Path, Path] = {}
    for path in {path for layer in layers for path in leaves(layer)}:
        for index in reversed(range(len(layers))):
            speaks, value = look_up(layers[index], path)
            if speaks:
                if value is not None:
                    expected[path] = value
                    sources[path] = (f"layer{index}", *path)
                break
    assert leaves(merged.settings) == expected
    assert dict(merged.sources) == sources


@given(stacks, stacks)
@settings(deadline=None)
def test_lower_layers_may_be_merged_first(
    lower: list[dict[str, object]], upper: list[dict[str, object]]
) -> None:
    at_once = merge(stack([*lower, *upper]))
    in_steps = merge(stack([dict(merge(stack(lower)).settings), *upper]))

    assert leaves(at_once.settings) == leaves(in_steps.settings)


@given(
    st.lists(layer_maps.map(lambda layer: nested({p: v for p, v in leaves(layer).items() if v is not None})))
)
@settings(deadline=None)
def test_without_null_upper_layers_may_be_merged_first(layers: list[dict[str, object]]) -> None:
    left, right = layers[: len(layers) // 2], layers[len(layers) // 2 :]
    flat = {path for layer in layers for path in leaves(layer)}
    if any(path[: len(other)] == other and path != other for path in flat for other in flat):
        return  # a key that is a value here and a map there: which of them wins depends on the order

    at_once = merge(stack(layers))
    in_steps = merge(stack([*left, dict(merge(stack(right)).settings)]))

    assert leaves(at_once.settings) == leaves(in_steps.settings)


@given(stacks)
@settings(deadline=None)
def test_empty_layers_change_nothing(layers: list[dict[str, object]]) -> None:
    padded = [layer for one in layers for layer in ({}, one, {})]

    assert leaves(merge(stack(padded)).settings) == leaves(merge(stack(layers)).settings)


@given(layer_maps)
@settings(deadline=None)
def test_nested_is_the_inverse_of_leaves(layer: dict[str, object]) -> None:
    assert leaves(nested(leaves(layer))) == leaves(layer)


SAID = st.sampled_from(["unsaid", "null", "1", "2", "3"])


@given(defaults=SAID, first=SAID, second=SAID, host=SAID)
@settings(deadline=None)
def test_host_settings_come_from_the_last_line_that_gives_them(
    defaults: str, first: str, second: str, host: str
) -> None:
    def entry(said: str) -> str:
        return "{}" if said == "unsaid" else f"{{OLLAMA_NUM_PARALLEL: {said}}}"

    fleet = Fleet.parse(
        "version: 1\n"
        "release: {version: 0.30.2}\n"
        "hosts:\n"
        f"  a: {{env: {entry(host)}}}\n"
        f"defaults: {{env: {entry(defaults)}}}\n"
        "groups:\n"
        f"  first: {{hosts: [a], env: {entry(first)}}}\n"
        f"  second: {{hosts: [a], env: {entry(second)}}}\n"
    )
    lines = {"defaults": 5, "first": 7, "second": 8, "host": 4}
    ladder = {"defaults": defaults, "first": first, "second": second, "host": host}
    spoken = [(place, said) for place, said in ladder.items() if said != "unsaid"]

    a = fleet.host("a")
    if not spoken or spoken[-1][1] == "null":
        assert a.env == {}
        assert "env.OLLAMA_NUM_PARALLEL" not in a.origin
    else:
        place, said = spoken[-1]
        assert a.env == {"OLLAMA_NUM_PARALLEL": said}
        assert a.origin["env.OLLAMA_NUM_PARALLEL"].line == lines[place]


MODEL = """\
version: 1
release: {version: 0.30.2}
hosts:
  a: {models: {m: {%s}}, gpus: [rtx-4090, rtx-3090]}
models:
  m:
    from: qwen3:8b
    num_ctx: 1000
    parameters: {temperature: 0.1, top_k: 1, stop: [a, b]}
    per_gpu:
      rtx-4090: {num_ctx: 2000, num_gpu: 20, parameters: {temperature: 0.2, stop: [c]}}
      rtx-3090: {num_ctx: 2000, num_gpu: 30, parameters: {temperature: 0.2, top_k: null}}
"""


def test_model_settings_without_a_gpu_of_their_own() -> None:
    model = Fleet.parse(MODEL % "").host("a").model("m").for_devices(["rtx-2080"])

    assert model.num_ctx == 1000
    assert model.num_gpu is None
    assert model.parameters == {"temperature": 0.1, "top_k": 1, "stop": ("a", "b")}
    assert model.origin["num_ctx"].line == 8
    assert "num_gpu" not in model.origin


def test_model_settings_of_one_kind_of_gpu() -> None:
    model = Fleet.parse(MODEL % "").host("a").model("m").for_devices(["rtx-3090", "rtx-3090"])

    assert (model.num_ctx, model.num_gpu) == (2000, 30)
    assert model.parameters == {"temperature": 0.2, "stop": ("a", "b")}
    assert model.origin["num_gpu"].line == 12
    assert model.origin["num_gpu"].path == "models.m.per_gpu.rtx-3090.num_gpu"
    assert model.origin["parameters.stop"].line == 9
    assert model.remarks == ()


@pytest.mark.parametrize("kinds", [["rtx-4090", "rtx-3090"], ["rtx-3090", "rtx-4090", "rtx-3090"]])
def test_of_different_kinds_only_that_is_taken_in_which_they_agree(kinds: list[str]) -> None:
    model = Fleet.parse(MODEL % "").host("a").model("m").for_devices(kinds)

    assert (model.num_ctx, model.num_gpu) == (2000, None)
    assert model.parameters == {"temperature": 0.2, "top_k": 1, "stop": ("a", "b")}
    assert sorted(remark.split()[0] for remark in model.remarks) == [
        "num_gpu",
        "parameters.stop",
        "parameters.top_k",
    ]


def test_the_hosts_own_override_wins_and_settles_a_difference() -> None:
    own = "num_gpu: 7, parameters: {top_k: 9, stop: null}"
    model = Fleet.parse(MODEL % own).host("a").model("m").for_devices(["rtx-4090", "rtx-3090"])

    assert model.num_gpu == 7
    assert model.parameters == {"temperature": 0.2, "top_k": 9}
    assert model.origin["num_gpu"].line == 4
    assert model.remarks == ()


def test_null_of_the_host_returns_to_the_default() -> None:
    model = (
        Fleet.parse(MODEL % "num_gpu: null, parameters: null").host("a").model("m").for_devices(["rtx-3090"])
    )

    assert model.num_gpu is None
    assert model.parameters == {}


def test_engine_takes_back_a_number_of_layers() -> None:
    model = Fleet.parse(MODEL % "num_gpu: engine").host("a").model("m").for_devices(["rtx-3090"])

    assert model.num_gpu is None
    assert model.origin["num_gpu"].line == 4


def test_no_devices_are_the_cpu() -> None:
    text = MODEL.replace("rtx-3090: {", "cpu: {").replace("[rtx-4090, rtx-3090]", "[]") % ""
    model = Fleet.parse(text).host("a").model("m").for_devices([])

    assert (model.num_ctx, model.num_gpu) == (2000, 30)


def test_a_placement_without_context_is_refused_when_it_is_asked_for() -> None:
    text = MODEL.replace("    num_ctx: 1000\n", "") % ""
    request = Fleet.parse(text.replace("[rtx-4090, rtx-3090]", "[rtx-4090]")).host("a").model("m")

    assert request.for_devices(["rtx-4090"]).num_ctx == 2000
    with pytest.raises(SpecErrors, match=r"6:3: models\.m: num_ctx is missing on rtx-2080: "):
        request.for_devices(["rtx-2080"])
