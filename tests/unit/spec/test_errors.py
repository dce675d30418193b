"""How mistakes are written: one line, nothing that a terminal would act on, the nearest right word."""

from __future__ import annotations

import pytest

from ollama_fleet.spec.errors import (
    Position,
    SpecError,
    SpecErrors,
    counted,
    did_you_mean,
    key_path,
    nearest,
    show,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ('a"b', '"a\\"b"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("a\u00a0b", '"a\\u00a0b"'),
        ("模型", '"模型"'),
        ("x" * 100, '"' + "x" * 59 + '…"'),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        ([1], "a list"),
        ({}, "a map"),
    ],
)
def test_values_in_messages(value: object, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("hosts", "gpu-01", "gpus", 0), "hosts.gpu-01.gpus[0]"),
        (("models", "llama3.1", "from"), 'models["llama3.1"].from'),
        (("models", "qwen3:8b"), 'models["qwen3:8b"]'),
        (("a\nb", ""), '["a\\nb"][""]'),
        ((), ""),
    ],
)
def test_paths(path: tuple[str | int, ...], text: str) -> None:
    assert key_path(path) == text


def test_one_line() -> None:
    position = Position(12, 5)

    assert str(SpecError("a.b", "wrong", "right", position, "f.yaml")) == "f.yaml:12:5: a.b: wrong; right"
    assert str(SpecError("", "wrong", None, position, "f.yaml")) == "f.yaml:12:5: wrong"
    assert str(SpecError("a", "wrong", None, None, "f.yaml")) == "f.yaml: a: wrong"


def test_mistakes_stand_in_the_order_of_the_file_and_each_once() -> None:
    late, early = SpecError("a", "x", None, Position(9, 1)), SpecError("b", "y", None, Position(2, 7))

    assert SpecErrors([late, early, late]).errors == (early, late)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("rtx-4900", "rtx-4090"),
        ("RTX-4090", "rtx-4090"),
        ("a100", "a100-80gb"),
        ("zzz", None),
        ("x" * 1000, None),
    ],
)
def test_nearest_word(word: str, found: str | None) -> None:
    assert nearest(word, ["rtx-3090", "rtx-4090", "a100-80gb"]) == found


def test_hint() -> None:
    assert did_you_mean("hots", ["hosts", "groups"]) == 'did you mean "hosts"?'
    assert did_you_mean("zzz", ["hosts"]) is None


def test_counted() -> None:
    assert counted(["a", "b"]) == "a, b"
    assert counted(list("abcdefg")) == "a, b, c, d and 3 more"
