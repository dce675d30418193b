"""Values are changed in the text of a fleet file, and nothing else of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.spec.edit import CannotEdit, edited, patch
from ollama_fleet.spec.yaml_source import parse_document

FLEET = """\
# The rack in the cellar.
version: 1
models:
  reasoner:   # the big one
    from: "deepseek-r1:32b"
    num_ctx: 8192            # as long as it fits

    per_gpu:                 # measured by hand
      # the small card
      rtx-4060-ti-16gb: {quantization: IQ3_M,  num_gpu: 60}   # OOM at 61
      rtx-4090:
        num_gpu: 'auto'

    system: |
      You are careful.

      Always.

  # a small one
  helper: {from: qwen3:8b, num_ctx: 4096}
hosts:
  gpu-01:
    address: 192.168.1.11
    models: [reasoner]   # a list
"""


def lines_changed(before: str, after: str) -> list[str]:
    lines = patch(before, after, "fleet.yaml").splitlines()[2:]
    return [line for line in lines if line[:1] in "+-"]


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (
            "models/reasoner/num_ctx",
            [
                "-    num_ctx: 8192            # as long as it fits",
                "+    num_ctx: 44            # as long as it fits",
            ],
        ),
        (
            "models/reasoner/per_gpu/rtx-4060-ti-16gb/num_gpu",
            [
                "-      rtx-4060-ti-16gb: {quantization: IQ3_M,  num_gpu: 60}   # OOM at 61",
                "+      rtx-4060-ti-16gb: {quantization: IQ3_M,  num_gpu: 44}   # OOM at 61",
            ],
        ),
        (
            "models/reasoner/per_gpu/rtx-4060-ti-16gb/num_ctx",
            [
                "-      rtx-4060-ti-16gb: {quantization: IQ3_M,  num_gpu: 60}   # OOM at 61",
                "+      rtx-4060-ti-16gb: {quantization: IQ3_M,  num_gpu: 60, num_ctx: 44}   # OOM at 61",
            ],
        ),
        (
            "models/reasoner/per_gpu/rtx-4090/num_gpu",
            ["-        num_gpu: 'auto'", "+        num_gpu: 44"],
        ),
        ("models/reasoner/per_gpu/rtx-4090/num_ctx", ["+        num_ctx: 44"]),
        ("models/reasoner/per_gpu/rtx-3090/num_gpu", ["+      rtx-3090: {num_gpu: 44}"]),
        (
            "models/helper/per_gpu/rtx-3090/num_gpu",
            [
                "-  helper: {from: qwen3:8b, num_ctx: 4096}",
                "+  helper: {from: qwen3:8b, num_ctx: 4096, per_gpu: {rtx-3090: {num_gpu: 44}}}",
            ],
        ),
        ("models/reasoner/num_gpu", ["+    num_gpu: 44"]),
    ],
)
def test_only_what_must_change_changes(path: str, changed: list[str]) -> None:
    after = edited(FLEET, {tuple(path.split("/")): 44})
    assert lines_changed(FLEET, after) == changed


def test_a_map_that_is_missing_is_written_in_the_files_own_way() -> None:
    text = "models:\n  m:\n    from: a\n    # last words\nhosts: {}\n"
    after = edited(text, {("models", "m", "per_gpu", "rtx-4090", "num_gpu"): 40})
    assert after == (
        "models:\n  m:\n    from: a\n    per_gpu:\n      rtx-4090: {num_gpu: 40}\n    # last words\nhosts: {}\n"
    )


@pytest.mark.parametrize("nothing", ["", " null", " ~", "   # to come"])
def test_a_key_without_a_value_gets_one(nothing: str) -> None:
    text = f"models:\n  m:\n    per_gpu:{nothing}\n    from: a\n"
    after = edited(text, {("models", "m", "per_gpu", "cpu", "num_gpu"): 0})
    assert parse_document(after.encode()).data == {
        "models": {"m": {"per_gpu": {"cpu": {"num_gpu": 0}}, "from": "a"}}
    }
    assert ("# to come" in after) == ("# to come" in text)


def test_windows_line_ends_and_a_missing_last_one_stay() -> None:
    text = "models:\r\n  m:\r\n    from: a"
    after = edited(text, {("models", "m", "num_gpu"): 4})
    assert after == "models:\r\n  m:\r\n    from: a\r\n    num_gpu: 4"


def test_two_values_at_once() -> None:
    place = ("models", "reasoner", "per_gpu", "rtx-3090")
    after = edited(FLEET, {(*place, "num_gpu"): 44, (*place, "num_ctx"): 2048})
    assert lines_changed(FLEET, after) == ["+      rtx-3090: {num_gpu: 44, num_ctx: 2048}"]


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("hosts:\n  a:\n    models: [m]\n", "hosts/a/models/m/num_gpu", "no map"),
        ("x: &s {num_gpu: 1}\nmodels: {m: *s}\n", "models/m/num_gpu", "alias"),
        ("models:\n  m: &s {num_gpu: 1}\n  n: *s\n", "models/m/num_gpu", "shared"),
        ("models:\n  m: &s\n    num_gpu: 1\n  n: *s\n", "models/m/num_gpu", "shared"),
        ("models: {m: {num_gpu: [1]}}\n", "models/m/num_gpu", "no single value"),
        ("a: [\n", "a/b", "not valid YAML"),
        ("b: &b {c: 1}\na:\n  <<: {m: {num_ctx: 1}}\n", "a/m/num_gpu", "without touching"),
    ],
)
def test_what_cannot_be_changed_alone_is_left(text: str, path: str, reason: str) -> None:
    with pytest.raises(CannotEdit, match=reason):
        edited(text, {tuple(path.split("/")): 4})


def test_the_patch_can_be_applied() -> None:
    after = edited(FLEET, {("models", "reasoner", "num_gpu"): 44})
    said = patch(FLEET, after, "fleet.yaml")
    assert said.startswith("--- a/fleet.yaml\n+++ b/fleet.yaml\n@@ ")
    assert patch(FLEET, FLEET, "fleet.yaml") == ""


keys = st.sampled_from(["models", "m", "per_gpu", "rtx-4090", "num_gpu", "x y", "no", "1"])
trees: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 99) | st.none() | st.text("ab #:{", max_size=6),
    lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@given(
    tree=st.dictionaries(keys, trees, min_size=1, max_size=4),
    path=st.lists(keys, min_size=1, max_size=4).map(tuple),
    indent=st.sampled_from([None, 1, 3]),
    flow=st.booleans(),
)
def test_any_file_is_changed_right_or_left_alone(
    tree: dict[str, Any], path: tuple[str, ...], indent: int | None, flow: bool
) -> None:
    import yaml

    if flow:
        text = json.dumps(tree, indent=indent)
    else:
        text = yaml.safe_dump(tree, indent=indent or 2, sort_keys=False, default_style=None)
    try:
        after = edited(text, {path: 7})
    except CannotEdit:
        return
    data: Any = parse_document(after.encode()).data
    for key in path:
        data = data[key]
    assert data == 7
    kept = [line for line in text.splitlines() if line.strip()]
    assert sum(line not in after.splitlines() for line in kept) <= 1, "at most one line was changed"
