from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.manifest import MAX_MANIFEST_BYTES, Layer, Manifest, ManifestError
from ollama_fleet.artifacts.model_config import ModelConfig
from ollama_fleet.artifacts.sha256 import blob_filename, check_digest, hex_of

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def document(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": A, "size": 10},
        "layers": [
            {
                "mediaType": "application/vnd.ollama.image.model",
                "digest": B,
                "size": 1000,
                "from": "llama3:8b",
            },
            {"mediaType": "application/vnd.ollama.image.license", "digest": C, "size": 5},
            {"mediaType": "application/vnd.ollama.image.license", "digest": A, "size": 7},
        ],
        **changes,
    }


def parse(value: object) -> Manifest:
    return Manifest.parse(json.dumps(value).encode())


def test_a_manifest_gives_its_layers() -> None:
    manifest = parse(document())
    assert manifest.layer("model") == Layer("application/vnd.ollama.image.model", B, 1000, "llama3:8b")
    assert manifest.layer("params") is None
    assert [layer.size for layer in manifest.layers_of("license")] == [5, 7]
    assert manifest.config.digest == A
    assert [layer.kind for layer in manifest.layers] == ["model", "license", "license"]


def test_size_and_digest_are_those_ollama_shows() -> None:
    data = json.dumps(document(), indent=1).encode()
    manifest = Manifest.parse(data)
    assert manifest.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert manifest.total_size == 1022
    assert manifest.blobs == {A: 10, B: 1000, C: 5}


def test_a_manifest_that_was_built_has_no_digest() -> None:
    with pytest.raises(ManifestError):
        _ = Manifest(Layer("x/y", A, 1), ()).digest


def test_the_stub_of_a_cloud_model_has_no_layers() -> None:
    assert parse(document(layers=None)).layers == ()


def layer(**changes: Any) -> dict[str, Any]:
    return document(layers=[{"mediaType": "x/y", "digest": A, "size": 1, **changes}])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "no JSON object"),
        (None, "no JSON object"),
        ({"manifests": []}, "index"),
        (document(schemaVersion=1), "schemaVersion is 1"),
        (document(config=None), "config is missing"),
        (document(layers={}), "layers is not a list"),
        (document(layers=[3]), "layers[0] is missing or no object"),
        (layer(digest="sha256:../../etc/passwd"), "layers[0]: 'sha256:../../etc/passwd' is not a digest"),
        (layer(digest="sha256:" + "A" * 64), "is not a digest"),
        (layer(digest=5), "is not a digest"),
        (layer(size=-1), "layers[0].size is -1"),
        (layer(size=True), "layers[0].size is True"),
        (layer(size=1.5), "layers[0].size is 1.5"),
        (layer(size=1 << 63), "layers[0].size"),
        (layer(mediaType=""), "media type"),
        (layer(mediaType="a\nb"), "media type"),
        (layer(**{"from": 3}), "layers[0].from is 3"),
    ],
)
def test_hostile_manifests_are_refused_in_one_line(value: object, reason: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"schemaVersion": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps(document()).encode() + b" " * MAX_MANIFEST_BYTES,
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(data)


@given(st.binary(max_size=200))
def test_no_bytes_end_in_anything_but_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    ["schemaVersion", "config", "layers", "config.digest", "config.size", "config.mediaType"]
)


@given(places, json_values)
def test_a_wrong_value_anywhere_is_refused_or_harmless(place: str, value: object) -> None:
    wrong = document()
    target: Any = wrong
    *parents, last = place.split(".")
    for key in parents:
        target = target[key]
    target[last] = value
    try:
        manifest = parse(wrong)
    except ManifestError as error:
        refusal = str(error)
    else:
        refusal = ""
        for layer in (manifest.config, *manifest.layers):
            check_digest(layer.digest)
            assert layer.size >= 0
    assert "\n" not in refusal


def test_the_config_says_what_the_model_is() -> None:
    data = {"model_format": "gguf", "model_family": "llama", "model_type": "8.0B", "file_type": "Q4_K_M"}
    config = ModelConfig.parse(
        json.dumps({**data, "architecture": "amd64", "renderer": "r", "parser": None}).encode()
    )
    assert config == ModelConfig("gguf", "llama", "8.0B", "Q4_K_M", "r")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"renderer": 1}', b"{" * 50_000, b" " * (1 << 20) + b"{}"])
def test_a_config_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        ModelConfig.parse(data)


def test_digests_name_blobs() -> None:
    assert blob_filename(A) == f"sha256-{'a' * 64}"
    assert hex_of(A) == "a" * 64
    with pytest.raises(ValueError, match="not a digest"):
        blob_filename("sha256:" + "a" * 63 + "\n")
