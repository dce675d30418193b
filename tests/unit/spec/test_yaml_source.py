"""YAML as data with positions; what is refused before any key is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ollama_fleet.spec.errors import Position, SpecErrors
from ollama_fleet.spec.yaml_source import MAX_BYTES, MAX_DEPTH, load_document, parse_document


def told(content: bytes | str) -> list[str]:
    raw = content.encode() if isinstance(content, str) else content
    try:
        document = parse_document(raw, "f")
    except SpecErrors as errors:
        return [str(error) for error in errors.errors]
    return [str(error) for _, error in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-1", -1),
        ("0", 0),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("y", "y"),
        ("'yes'", "yes"),
        ('"off"', "off"),
        ("24h", "24h"),
        ("10.0.0.1", "10.0.0.1"),
        ("0.32.15", "0.32.15"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("|\n a\n b\n", "a\nb\n"),
    ],
)
def test_plain_words_are_read_as_in_yaml_1_2(text: str, value: object) -> None:
    document = parse_document(f"a: {text}\n".encode())

    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_positions_of_keys_and_values() -> None:
    document = parse_document(b"a:\n  b: [x, yy, {c: z}]\n'd': 1\n")

    assert document.keys[("a", "b")] == Position(2, 3)
    assert document.values[("a", "b", 1)] == Position(2, 10)
    assert document.values[("a", "b", 2, "c")] == Position(2, 18)
    assert document.keys[("d",)] == Position(3, 1)


def test_windows_line_ends_and_byte_order_mark() -> None:
    document = parse_document("﻿a: 1\r\nb: 2\r\n".encode())

    assert document.data == {"a": 1, "b": 2}
    assert document.keys[("b",)] == Position(2, 1)


def test_position_of_what_is_not_there_is_that_of_its_parents_key() -> None:
    document = parse_document(b"hosts:\n  a:\n    ssh: {}\n")

    assert document.position(("hosts", "a", "ssh", "port")) == Position(3, 5)
    assert document.position(("groups",)) == Position(1, 1)


def test_merge_keys() -> None:
    document = parse_document(b"x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  c: 5\n")

    assert document.data["z"] == {"a": 1, "b": 2, "c": 5}  # type: ignore[index,call-overload]
    assert document.values[("z", "a")] == Position(1, 11)
    assert document.values[("z", "c")] == Position(5, 6)


def test_merge_keys_of_merged_maps() -> None:
    text = b"x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz: {<<: [*y]}\n"

    assert parse_document(text).data["z"] == {"b": 2, "a": 1}  # type: ignore[index,call-overload]


def test_many_aliases_in_a_small_file_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    (message,) = told("\n".join(lines))
    assert message.endswith("its aliases expand to too much")


def test_many_merged_maps_in_a_small_file_are_refused() -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]

    (message,) = told("\n".join(lines))
    assert message.endswith("its aliases expand to too much")


def test_deep_nesting_is_refused() -> None:
    (message,) = told("a: " + "[" * 5000)
    assert message == f"f:1:{4 + MAX_DEPTH - 1}: not valid YAML: nested too deeply"


def test_a_file_that_is_too_large_is_refused() -> None:
    assert told(b"#" * (MAX_BYTES + 1)) == ["f: larger than 1 MiB"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff\n", "f:1:4: not UTF-8 text; save the file as UTF-8"),
        ("a: ä\nb: \xff".encode("latin-1"), "f:1:4: not UTF-8 text; save the file as UTF-8"),
        (b"a: 1\nb: \x00\n", "f:2:4: the character U+0000 cannot stand in YAML"),
        (b"a: 1\nb: x\x1b[2J\n", "f:2:5: the character U+001B cannot stand in YAML"),
        (b"a:\n\t- b\n", "f:2:1: a tab cannot indent YAML; use spaces"),
        (b"a: @b\n", "f:1:4: not valid YAML: found character '@' that cannot start any token"),
        (b"a: 'b\n", "f:2:1: not valid YAML: found unexpected end of stream"),
        (b"? [a]\n: b\n", "f:1:3: a key must be a word"),
        (b"on: 1\n", 'f:1:1: the key "on" is not read as a word; put it in quotes'),
        (b"null: 1\n", 'f:1:1: the key "null" is not read as a word; put it in quotes'),
        (b"!x a: 1\n", 'f:1:1: the tag "!x" means nothing here; remove it'),
        (b"a: !!set {b}\n", 'f:1:4: a: the tag "!!set" means nothing here; remove it'),
        (b"a: {<<: 3}\n", 'f:1:9: a["<<"]: `<<` merges maps only'),
        (b"a: &a {<<: *a}\n", "f:1:4: its aliases expand to too much"),
        (b"a: 1e999\n", 'f:1:4: a: "1e999" is too large for a number; put it in quotes if it is text'),
    ],
)
def test_message(content: bytes, message: str) -> None:
    assert told(content) == [message]


def test_a_number_longer_than_python_converts() -> None:
    (message,) = told("a: " + "9" * 5000)
    assert message.endswith("is too large for a number; put it in quotes if it is text")


def test_all_doubtful_words_are_told_at_once() -> None:
    assert len(told("a: yes\nb: No\nc: ON\nd: 007\n'yes': [off]\n")) == 5


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        load_document(tmp_path / "fleet.yaml")

    assert str(caught.value) == (
        f"{tmp_path}/fleet.yaml: no such file or directory; "
        "name another file, or write one with `ollama-fleet init`"
    )


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match="is a directory; a file was expected"):
        load_document(tmp_path)
