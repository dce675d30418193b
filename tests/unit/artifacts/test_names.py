from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.names import ModelName, ModelNameError

first = st.sampled_from("abcXYZ019_")


def part(rest: str, longest: int = 80) -> st.SearchStrategy[str]:
    return st.builds(str.__add__, first, st.text(alphabet=rest, max_size=longest - 1))


hosts = part("abcXYZ019_-.:", 100)
namespaces = part("abcXYZ019_-")
models = part("abcXYZ019_-.")


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("llama3", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        ("deepseek-r1:32b", "registry.ollama.ai/library/deepseek-r1:32b", "deepseek-r1:32b"),
        ("someone/model", "registry.ollama.ai/someone/model:latest", "someone/model:latest"),
        ("hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M"),
        (
            "mirror.lan:5000/library/qwen3:8b",
            "mirror.lan:5000/library/qwen3:8b",
            "mirror.lan:5000/library/qwen3:8b",
        ),
        (
            "mirror.lan:5000/library/qwen3",
            "mirror.lan:5000/library/qwen3:latest",
            "mirror.lan:5000/library/qwen3:latest",
        ),
        ("https://hf.co/org/model", "hf.co/org/model:latest", "hf.co/org/model:latest"),
        ("Registry.Ollama.AI/Library/llama3:8b", "Registry.Ollama.AI/Library/llama3:8b", "llama3:8b"),
    ],
)
def test_names_are_completed_and_shortened_as_ollama_does(text: str, full: str, short: str) -> None:
    name = ModelName.parse(text)
    assert (name.full, name.short, str(name)) == (full, short, short)


def test_a_name_knows_its_manifest_and_its_registry() -> None:
    name = ModelName.parse("hf.co/org/Model:Q4_K_M")
    assert name.manifest_path == "hf.co/org/Model/Q4_K_M"
    assert name.registry_base == "https://hf.co"
    assert name.repository == "org/Model"
    assert ModelName.from_manifest_path(name.manifest_path).full == name.full


def test_case_makes_no_other_model() -> None:
    one, other = ModelName.parse("Llama3:8B"), ModelName.parse("llama3:8b")
    assert one == other
    assert len({one, other}) == 1
    assert one != ModelName.parse("llama3:70b")
    assert one != "llama3:8b"


def test_names_sort_without_regard_to_case() -> None:
    names = [ModelName.parse(text) for text in ("b", "A", "c")]
    assert [name.model for name in sorted(names)] == ["A", "b", "c"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" llama3", "blanks"),
        ("llama3\n", "blanks"),
        ("llama 3", "' '"),
        ("llama3:", "tag of the model name is empty"),
        (":8b", "model of the model name is empty"),
        ("/llama3", "namespace of the model name is empty"),
        ("a/b/c/d", "too many '/'"),
        ("llama3@sha256:abc", "fleet.lock"),
        ("mirror:5000/model", "three parts"),
        ("http://mirror/library/model", "insecure: true"),
        ("ftp://mirror/library/model", "only https"),
        ("https://model", "https://host/namespace/model:tag"),
        ("../../etc:passwd", "must begin"),
        ("-rf", "must begin"),
        (".hidden/model", "must begin"),
        ("name.space/model", "'.'"),
        ("model:q4;reboot", "';'"),
        ("模型", "must begin"),
        ("m" * 81, "81 characters"),
        ("model:" + "t" * 81, "81 characters"),
        ("h" * 351 + "/library/model", "351 characters"),
        ("gpt-oss:cloud", "reserved"),
        ("gpt-oss:120b-cloud", "reserved"),
        ("gpt-oss:120b-CLOUD", "reserved"),
        ("gpt-oss:Local", "reserved"),
    ],
)
def test_what_is_no_name_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ModelNameError) as caught:
        ModelName.parse(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stubs_of_cloud_models_on_a_host_have_names() -> None:
    name = ModelName.from_manifest_path("registry.ollama.ai/library/gpt-oss/120b-cloud")
    assert name.tag == "120b-cloud"


@pytest.mark.parametrize(
    "path", ["a/b/c", "a/b/c/d/e", "registry.ollama.ai/library/../latest", "", "a/b/.c/d"]
)
def test_other_files_among_the_manifests_have_no_names(path: str) -> None:
    with pytest.raises(ModelNameError):
        ModelName.from_manifest_path(path)


def test_a_port_in_the_host_cannot_be_a_directory_on_windows() -> None:
    assert ModelName.parse("mirror.lan/library/m").valid_on_windows
    assert not ModelName.parse("mirror.lan:5000/library/m").valid_on_windows


@given(hosts, namespaces, models, models)
def test_every_way_to_write_a_valid_name_reads_back(host: str, namespace: str, model: str, tag: str) -> None:
    name = ModelName(host, namespace, model, tag)
    assert ModelName.from_manifest_path(name.manifest_path) == name
    if tag.lower() in {"cloud", "local"} or tag.lower().endswith("-cloud"):
        return
    assert ModelName.parse(name.full) == name
    assert ModelName.parse(name.short) == name
    assert ModelName.parse(name.full.swapcase()) == name


@given(st.text(max_size=40) | st.text(alphabet="ab/:.-_@\n \0é", max_size=20))
def test_whatever_is_written_is_a_safe_path_or_refused(text: str) -> None:
    try:
        path, refusal = ModelName.parse(text).manifest_path, ""
    except ModelNameError as error:
        path, refusal = "a/b/c/d", str(error)
    assert not refusal or refusal.isprintable()
    assert re.fullmatch(r"(/?[A-Za-z0-9_][A-Za-z0-9_.:-]*){4}", path)
    assert path.count("/") == 3
