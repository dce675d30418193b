"""Digests marked as Ollama's are those that its server makes of the same requests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ollama_fleet.artifacts.difference import explain_difference
from ollama_fleet.artifacts.digests import (
    CreatedModel,
    created_layers,
    license_layer_bytes,
    messages_layer_bytes,
    params_layer_bytes,
    system_layer_bytes,
    template_layer_bytes,
)
from ollama_fleet.artifacts.manifest import Layer, Manifest, media_type
from ollama_fleet.artifacts.model_config import ModelConfig

CONFIG = Layer("application/vnd.docker.container.image.v1+json", f"sha256:{'0' * 64}", 100)
WEIGHTS = ("model", "a" * 64)


def digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(*layers: tuple[str, str]) -> Manifest:
    return Manifest(CONFIG, tuple(Layer(media_type(kind), f"sha256:{hexa}", 1) for kind, hexa in layers))


def as_manifest(model: CreatedModel) -> Manifest:
    return Manifest(CONFIG, tuple(Layer(layer.media_type, layer.digest, 1) for layer in model.layers))


def kinds_and_digits(model: CreatedModel) -> list[tuple[str, str]]:
    return [
        (layer.media_type.rpartition(".")[2], layer.digest.removeprefix("sha256:")) for layer in model.layers
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            params_layer_bytes({"temperature": 1, "top_k": 10, "stop": ["USER:", "ASSISTANT:"]}),
            "1d0ad71299d48c2fb7ae2b98e683643e771f8a5b72be34942af90d97a91c1e37",
        ),
        (system_layer_bytes("Say hi!"), "f29e82a8284dbdf5910b1555580ff60b04238b8da9d5e51159ada67a4d0d5851"),
        (system_layer_bytes("Say bye!"), "4c5f51faac758fecaff8db42f0b7382891a4d0c0bb885f7b86be88c814a7cc86"),
        (
            template_layer_bytes("{{ .System }} {{ .Prompt }}"),
            "fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed",
        ),
        (license_layer_bytes("MIT"), "e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7"),
        (
            messages_layer_bytes(
                [
                    {"role": "assistant", "content": "What is my purpose?"},
                    {"role": "User", "content": "You run tests."},
                    {"role": "assistant", "content": "Oh, my god."},
                ]
            ),
            "298baeaf6928a60cf666d88d64a1ba606feb43a2865687c39e40652e407bffc4",
        ),
    ],
)
def test_layers_have_ollamas_digests(content: bytes, expected: str) -> None:
    assert digits(content) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"temperature": 0.6, "top_p": 0.7},
            "e29a7b3c47287a2489c895d21fe413c20f859a85d20e749492f52a838e36e1ba",
        ),
        (
            {"temperature": 0.6, "top_p": 0.7, "stop": ["<|endoftext|>"]},
            "12f58bb75cb3042d69a7e013ab87fb3c3c7088f50ddc62f0c77bd332f0d44d35",
        ),
    ],
)
def test_parameters_are_merged_as_ollama_merges_them(changes: dict[str, Any], expected: str) -> None:
    base_params = {"temperature": 1, "top_k": 10, "stop": ["USER:", "ASSISTANT:"]}
    base = manifest(WEIGHTS, ("params", digits(params_layer_bytes(base_params))))
    created = created_layers(base, base_params, {"model": "test2", "from": "test", "parameters": changes})
    assert kinds_and_digits(created) == [WEIGHTS, ("params", expected)]
    assert created.params == {**base_params, **changes}


def test_nothing_asked_for_leaves_the_base_as_it_is() -> None:
    base = manifest(
        WEIGHTS, ("template", "b" * 64), ("system", "c" * 64), ("license", "d" * 64), ("messages", "e" * 64)
    )
    created = created_layers(
        base, None, {"model": "m", "from": "base", "system": "", "template": "", "license": ""}
    )
    assert created.matches(base)
    assert all(layer.content is None for layer in created.layers)


def test_what_is_asked_for_replaces_the_base_and_comes_last() -> None:
    base = manifest(
        ("template", "b" * 64), ("system", "c" * 64), WEIGHTS, ("messages", "e" * 64), ("license", "d" * 64)
    )
    request = {
        "template": "T",
        "system": "S",
        "license": ["one", "two"],
        "parameters": {"num_gpu": 5},
        "messages": [{"role": "user", "content": "hi"}],
    }
    created = created_layers(base, None, request)
    assert kinds_and_digits(created) == [
        WEIGHTS,
        ("license", "d" * 64),
        ("template", digits(b"T")),
        ("system", digits(b"S")),
        ("license", digits(b"one")),
        ("license", digits(b"two")),
        ("params", digits(b'{"num_gpu":5}\n')),
        ("messages", digits(b'[{"role":"user","content":"hi"}]\n')),
    ]


def test_the_bases_parameters_are_written_anew() -> None:
    # A registry's blob may be laid out differently; what the server makes of it is not.
    base = manifest(WEIGHTS, ("params", digits(b'{ "stop": ["a"] }')))
    created = created_layers(base, {"stop": ["a"]}, {"model": "m"})
    assert kinds_and_digits(created)[-1] == ("params", digits(b'{"stop":["a"]}\n'))


def test_adapters_follow_the_base() -> None:
    created = created_layers(
        manifest(WEIGHTS), None, {"adapters": {"lora.gguf": f"sha256:{'f' * 64}"}, "system": "S"}
    )
    assert kinds_and_digits(created) == [WEIGHTS, ("adapter", "f" * 64), ("system", digits(b"S"))]


def test_a_lone_license_text_counts_unless_it_is_empty() -> None:
    assert len(created_layers(manifest(WEIGHTS), None, {"license": "MIT"}).layers) == 2
    assert len(created_layers(manifest(WEIGHTS), None, {"license": ""}).layers) == 1
    assert len(created_layers(manifest(WEIGHTS), None, {"license": [""]}).layers) == 2


@pytest.mark.parametrize(
    "request_", [{"files": {"a": "b"}}, {"quantize": "q4_K_M"}, {"draft_files": {"a": "b"}}]
)
def test_what_the_engine_rewrites_cannot_be_foreseen(request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be foreseen"):
        created_layers(manifest(WEIGHTS), None, request_)


def test_parameters_of_the_base_must_be_known() -> None:
    with pytest.raises(ValueError, match="not known"):
        created_layers(manifest(WEIGHTS, ("params", "b" * 64)), None, {})


def test_renderer_parser_and_requires_come_from_the_base_unless_given() -> None:
    config = ModelConfig(architecture="llama", renderer="r", parser="p", requires="0.14.0")
    created = created_layers(manifest(WEIGHTS), None, {"parser": "other"}, config)
    assert (created.renderer, created.parser, created.requires) == ("r", "other", "0.14.0")


@pytest.mark.parametrize(
    ("config", "params", "expected"),
    [
        (ModelConfig(architecture="gemma4"), {}, ["<turn|>"]),
        (ModelConfig(architecture="gemma4", renderer="r"), {}, ["<turn|>"]),
        (ModelConfig(architecture="gemma4"), {"stop": ["x"]}, ["x"]),
        (ModelConfig(architecture="gemma4", renderer="r", parser="p"), {}, None),
        (ModelConfig(architecture="llama"), {}, None),
    ],
)
def test_gemma4_gets_a_stop_word_where_nothing_renders_it(
    config: ModelConfig, params: dict[str, Any], expected: list[str] | None
) -> None:
    created = created_layers(manifest(WEIGHTS), None, {"parameters": params}, config)
    assert created.params.get("stop") == expected


def test_a_renderer_that_the_engine_chooses_is_no_difference() -> None:
    created = created_layers(manifest(WEIGHTS), None, {}, ModelConfig(architecture="gemma4"))
    params = params_layer_bytes(created.params)
    chosen = ModelConfig(architecture="gemma4", renderer="gemma4-small", parser="gemma4")
    assert explain_difference(created, as_manifest(created), params, chosen) == []


def test_a_request_is_not_changed() -> None:
    request = {"parameters": {"num_ctx": 1}}
    before = json.dumps(request)
    created_layers(manifest(WEIGHTS), None, request, ModelConfig(architecture="gemma4"))
    assert json.dumps(request) == before


WANTED = created_layers(
    manifest(WEIGHTS, ("license", "d" * 64)),
    None,
    {"parameters": {"num_gpu": 5, "temperature": 0.6, "stop": ["a"]}, "system": "S", "renderer": "r"},
)


def explain(request: dict[str, Any], base: Manifest, **more: Any) -> list[str]:
    actual = created_layers(base, None, request)
    params = params_layer_bytes(actual.params) if actual.params else None
    return explain_difference(WANTED, as_manifest(actual), params, **more)


BASE = manifest(WEIGHTS, ("license", "d" * 64))
RIGHT = {"parameters": {"num_gpu": 5, "temperature": 0.6, "stop": ["a"]}, "system": "S"}


@pytest.mark.parametrize(
    ("request_", "base", "reasons"),
    [
        (RIGHT, BASE, []),
        ({**RIGHT, "system": "T"}, BASE, ["system prompt differs"]),
        ({**RIGHT, "system": ""}, BASE, ["system prompt is missing"]),
        ({**RIGHT, "template": "T"}, BASE, ["template should not be there"]),
        ({**RIGHT, "license": "more"}, BASE, ["license differs"]),
        (RIGHT, manifest(("model", "b" * 64), ("license", "d" * 64)), ["base layers differ (model)"]),
        (
            RIGHT,
            manifest(WEIGHTS, ("projector", "b" * 64), ("license", "d" * 64)),
            ["base layers differ (projector)"],
        ),
        (
            {**RIGHT, "parameters": {"num_gpu": 10, "temperature": 0.6, "stop": ["a"], "top_k": 40}},
            BASE,
            ["parameter num_gpu is 10, wanted 5", "parameter top_k is 40, wanted not set"],
        ),
        (
            {**RIGHT, "parameters": {"num_gpu": 5, "stop": ["a", "b"]}},
            BASE,
            ['parameter stop is ["a","b"], wanted ["a"]', "parameter temperature is not set, wanted 0.6"],
        ),
        (
            {"system": "S"},
            BASE,
            [
                "parameter num_gpu is not set, wanted 5",
                'parameter stop is not set, wanted ["a"]',
                "parameter temperature is not set, wanted 0.6",
            ],
        ),
    ],
)
def test_differences_are_told_in_words(request_: dict[str, Any], base: Manifest, reasons: list[str]) -> None:
    assert explain(request_, base) == reasons


def test_parameters_that_cannot_be_read_differ() -> None:
    altered = as_manifest(created_layers(BASE, None, {**RIGHT, "parameters": {"num_gpu": 1}}))
    for blob in (None, b"", b"[]", b"{"):
        assert explain_difference(WANTED, altered, blob) == ["parameters differ"]


def test_the_same_parameters_in_other_bytes_are_a_difference_too() -> None:
    altered = manifest(WEIGHTS, ("license", "d" * 64), ("system", digits(b"S")), ("params", "9" * 64))
    blob = b'{"num_gpu": 5.0, "stop": ["a"], "temperature": 0.60}'
    assert explain_difference(WANTED, altered, blob) == ["parameters are written differently"]


def test_the_config_is_compared_where_it_is_known() -> None:
    assert explain(RIGHT, BASE, actual_config=ModelConfig(renderer="other", requires="1.0.0")) == [
        "renderer is other, wanted r",
        "requires is 1.0.0, wanted not set",
    ]
    assert explain(RIGHT, BASE, actual_config=ModelConfig(renderer="r")) == []


def test_order_is_no_difference() -> None:
    backwards = Manifest(CONFIG, tuple(reversed(as_manifest(WANTED).layers)))
    assert WANTED.matches(backwards)
    assert explain_difference(WANTED, backwards) == []


def test_the_order_of_licenses_is_no_difference() -> None:
    one, other = (created_layers(BASE, None, {"license": texts}) for texts in (["a", "b"], ["b", "a"]))
    assert explain_difference(one, as_manifest(other)) == []


def test_long_values_are_cut() -> None:
    (reason,) = explain({**RIGHT, "parameters": {**RIGHT["parameters"], "stop": ["x" * 500]}}, BASE)  # type: ignore[dict-item]
    assert len(reason) < 120
