"""JSON the way Go writes it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_sim import gojson

values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_what_is_written_reads_back(value: object) -> None:
    text = gojson.encode(value)
    assert json.loads(text, parse_int=float) == value
    assert not set(text) & set("<>&\u2028\u2029\n")


def significant(text: str) -> str:
    """The digits that count, without sign, point, exponent and padding."""
    return text.lstrip("-").partition("e")[0].replace(".", "").strip("0")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_the_shortest_that_read_back(value: float) -> None:
    text = gojson.number(value)
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert significant(text) == significant(repr(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4096.0, "4096"),
        (0.6, "0.6"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
    ],
)
def test_where_the_exponent_begins(value: float, text: str) -> None:
    assert gojson.number(value) == text


def test_maps_are_sorted_and_structs_are_not() -> None:
    assert gojson.encode({"b": 1, "a": gojson.Struct(z=1, y=2)}) == '{"a":{"z":1,"y":2},"b":1}'
