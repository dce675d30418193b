"""Whatever stands in a file: it is loaded, or it is refused in lines that people can read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.spec.errors import SpecErrors
from ollama_fleet.spec.fleet import Fleet
from ollama_fleet.spec.yaml_source import parse_document

EXAMPLES = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
]
GPUS = ["rtx-4090", "rtx-4070", "rtx-4060-ti-16gb", "a100-80gb"]

WORDS = """
    version release defaults models groups hosts registries prune listen models_dir env firewall expose
    scope sudo ssh gpus os instances address from quantization variants num_ctx num_gpu parameters system
    preload keep_alive per_gpu OLLAMA_HOST OLLAMA_DEBUG insecure allow_from yes null true auto engine 0 1 -1
    0.5 a ~ << [key] * & ! | > @local 10.0.0.1 0.0.0.0:11434 /srv/x rtx-4090 qwen3:8b
"""
ROOT = ["version", "release", "defaults", "models", "groups", "hosts", "registries"]
words = st.sampled_from(WORDS.split())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | words
data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


def load(content: str | bytes) -> None:
    refused: SpecErrors | None = None
    try:
        fleet = Fleet.parse(content, GPUS)
    except SpecErrors as errors:
        refused = errors
    if refused is None:
        for host in fleet.hosts:
            for request in host.models:
                request.for_devices(() if host.gpus == "auto" else host.gpus)
        return
    assert refused.errors
    for line in map(str, refused.errors):
        assert line.startswith("fleet.yaml")
        assert line.splitlines() == [line]
        assert line.isprintable()
        assert len(line) < 1000


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(content: bytes) -> None:
    load(content)


@given(st.text(max_size=200) | st.lists(words, max_size=40).map(" ".join))
@settings(deadline=None)
def test_any_text(text: str) -> None:
    load(text)


@given(
    st.lists(
        st.sampled_from(
            ["- ", "a: ", "{", "}", "[", "]", "\n", "  ", "&x ", "*x", "'", '"', "|\n", "<<: ", ", "]
        )
    )
)
@settings(deadline=None)
def test_any_punctuation(tokens: list[str]) -> None:
    load("".join(tokens))


@given(data)
@settings(deadline=None)
def test_any_data(value: object) -> None:
    load(yaml.safe_dump(value, allow_unicode=True))


@given(st.dictionaries(st.sampled_from(ROOT), data))
@settings(deadline=None)
def test_any_data_below_the_keys_of_the_root(value: object) -> None:
    load(yaml.safe_dump(value, allow_unicode=True))


@st.composite
def broken_text(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(EXAMPLES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.text(max_size=4) | words) + text[end:]
    return text


@given(broken_text())
@settings(deadline=None, max_examples=200)
def test_any_typing_mistake_in_an_example(text: str) -> None:
    load(text)


@st.composite
def broken_data(draw: st.DrawFn) -> str:
    root: Any = copy.deepcopy(parse_document(draw(st.sampled_from(EXAMPLES)).encode()).data)
    for _ in range(draw(st.integers(1, 3))):
        here = root
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], dict | list) and draw(st.integers(0, 3)):
                here = here[key]
                continue
            what = draw(st.sampled_from(["replace", "remove", "rename"]))
            if what == "replace":
                here[key] = draw(data)
            elif what == "remove":
                del here[key]
            elif isinstance(here, dict):
                here[draw(words | st.text(max_size=5))] = here.pop(key)
            break
    return yaml.safe_dump(root, allow_unicode=True, sort_keys=False)


@given(broken_data())
@settings(deadline=None, max_examples=200)
def test_any_wrong_value_in_an_example(text: str) -> None:
    load(text)
