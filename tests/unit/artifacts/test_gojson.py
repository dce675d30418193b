"""The expected texts are what Go's encoding/json and strconv wrote for the same values."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.artifacts.gojson import decode, encode, float32, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-17, "-17"),
        (0.6, "0.6"),
        (100000, "100000"),
        (123456.789, "123456.789"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (9.99999e-7, "9.99999e-7"),
        (1.25e-10, "1.25e-10"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53 + 1, "9007199254740992"),
        (123456789012345678, "123456789012345680"),
        (2**60, "1152921504606847000"),
        (2**-25, "2.9802322387695312e-8"),
    ],
)
def test_numbers_are_written_as_go_writes_float64(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_numbers_that_json_cannot_hold_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be written|beyond"):
        encode({"a": value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ([], "[]"),
        (None, "null"),
        ({"b": 1, "a": [True, False, None], "B": "x"}, '{"B":"x","a":[true,false,null],"b":1}'),
        ({"é": 1, "z": 2, "😀": 3, "\uffff": 4}, '{"z":2,"é":1,"\uffff":4,"😀":3}'),
        ("<|im_end|> & </s>", '"\\u003c|im_end|\\u003e \\u0026 \\u003c/s\\u003e"'),
        ("\u2028\u2029", '"\\u2028\\u2029"'),
        ('\x00\x1f\x7f\b\f\n\r\t"\\/', '"\\u0000\\u001f\x7f\\b\\f\\n\\r\\t\\"\\\\/"'),
        ("中文 é 😀", '"中文 é 😀"'),
        (("a", "b"), '["a","b"]'),
    ],
)
def test_values_are_written_as_go_writes_them(value: object, text: str) -> None:
    assert encode(value) == text.encode() + b"\n"


@pytest.mark.parametrize("value", [{"a": {1, 2}}, b"bytes", {1: "a"}, object()])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_half_a_surrogate_pair_and_endless_nesting_are_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        encode(["\ud800"])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        encode(endless)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates have no UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(json_values)
def test_what_is_written_reads_back_as_the_same_value(value: object) -> None:
    written = encode(value)
    assert json.loads(written, parse_int=float) == value
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    assert not set(b"<>&") & set(written)
    assert encode(decode(written)) == written


@pytest.mark.parametrize("data", [b"", b"{", b"[NaN]", b"-Infinity", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_go_would_not_read_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        decode(data)
    assert "\n" not in str(caught.value)


def test_minus_zero_keeps_its_sign() -> None:
    assert encode(decode(b'{"seed":-0}')) == b'{"seed":-0}\n'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.6", 0.6),
        ("1", 1.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1e2", 100.0),
        ("-0", -0.0),
        ("0.1234567891", 0.12345679),
        ("16777217", 16777216.0),
        ("231065.875", 231065.88),
        ("1240179.25", 1240179.2),
        ("0.000244140625", 0.00024414063),
        ("3.4028235e38", 3.4028235e38),
        ("1e-45", 1e-45),
        ("1e-50", 0.0),
        ("7.006492321624085e-46", 0.0),
        # Just above the middle of two float32; by way of a float64 it would be rounded to the lower.
        ("1.00000005960464477540", 1.0000001),
    ],
)
def test_decimals_become_the_shortest_of_their_float32(text: str, value: float) -> None:
    assert repr(float32(text)) == repr(value)


@pytest.mark.parametrize(
    "text", ["", "abc", "1_0", "0x1p3", "nan", "inf", "1e", "--1", "1e39", "3.4028236e38", "٣", "1 "]
)
def test_what_is_no_float32_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal|float32"):
        float32(text)


@given(st.integers(0, 0x7F7FFFFF))
def test_every_float32_reads_back_as_itself(bits: int) -> None:
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    shortest = float32(repr(value))
    assert struct.pack("<f", shortest) == struct.pack("<f", value)
    assert len(repr(shortest).split("e")[0].strip("0.").replace(".", "")) <= 9
