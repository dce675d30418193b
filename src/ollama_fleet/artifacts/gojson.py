"""JSON exactly as Go's encoding/json writes it, since Ollama's digests are taken of those bytes.

What differs from Python's: no blanks, keys sorted by their bytes, `<` `>` `&` U+2028 U+2029 escaped and other
text left as it is, and every number a float64 in Go's notation (Ollama decodes requests into float64 and
writes those).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

__all__ = ["decode", "encode", "float32", "number"]

_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile('["\\\\\x00-\x1f<>&\u2028\u2029]')
_MAX_DEPTH = 100
_MAX_FLOAT32 = struct.unpack("<f", struct.pack("<I", 0x7F7FFFFF))[0]


def encode(value: object) -> bytes:
    """The bytes Go's `json.NewEncoder` writes for a value decoded from JSON, with the newline at the end.

    Raises:
        ValueError: for what JSON cannot hold: NaN, infinity, half a surrogate pair, nesting without end.
        TypeError: for a value of a type JSON does not have.
    """
    return (_encoded(value, 0) + "\n").encode()


def decode(data: bytes) -> object:
    """The value of a JSON text as Go decodes it where it does not know the type.

    Raises:
        ValueError: when it is no JSON, or nested without end; one line.
    """
    try:
        return json.loads(data, parse_int=_integer, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None


def number(value: float) -> str:
    """A number as Go writes a float64: `1`, `0.6`, `1e+21`, `1e-7`.

    Raises:
        ValueError: for NaN and infinity, and for integers beyond the range of a float64.
    """
    try:
        as_float = float(value)
    except OverflowError:
        raise ValueError("the number is beyond what JSON in Go can hold") from None
    if not math.isfinite(as_float):
        raise ValueError(f"{as_float} cannot be written as JSON")
    if as_float == 0:
        return "-0" if math.copysign(1.0, as_float) < 0 else "0"
    sign, digits, exponent = Decimal(repr(as_float)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    prefix = "-" if sign else ""
    magnitude = len(text) + exponent  # the value is 0.TEXT times ten to this power
    if 1e-6 <= abs(as_float) < 1e21:
        if exponent >= 0:
            return prefix + text + "0" * exponent
        if magnitude > 0:
            return f"{prefix}{text[:magnitude]}.{text[magnitude:]}"
        return f"{prefix}0.{'0' * -magnitude}{text}"
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    power = magnitude - 1
    # No exponent is padded to two digits: positive ones begin at 21, and of negative ones Go takes the zero
    # away.
    return f"{prefix}{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


def float32(text: str) -> float:
    """A decimal as `ollama create` hands it on: rounded to a float32, then its shortest decimal.

    Raises:
        ValueError: when the text is no decimal number, or beyond a float32.
    """
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        raise ValueError(f"{text[:60]!r} is not a decimal number")
    as_float = float(text)
    nearest = as_float
    if as_float != 0 and math.isfinite(as_float):
        nearest = _nearest_float32(Fraction(text), as_float)
    if not math.isfinite(nearest):
        raise ValueError(f"{text[:60]} is beyond the range of a float32")
    return _shortest(nearest)


def _nearest_float32(exact: Fraction, guess: float) -> float:
    # Going through a float64 rounds twice, so its neighbours are compared with the exact value.
    if abs(guess) >= _MAX_FLOAT32:
        # Half a step beyond the largest float32 is where rounding to nearest gives infinity.
        limit = Fraction(_MAX_FLOAT32) + Fraction(2) ** 103
        return math.copysign(_MAX_FLOAT32 if abs(exact) < limit else math.inf, guess)
    bits = struct.unpack("<I", struct.pack("<f", abs(guess)))[0]
    candidates = [near for near in (bits - 1, bits, bits + 1) if 0 <= near <= 0x7F7FFFFF]
    target = abs(exact)
    best = min(candidates, key=lambda near: (abs(Fraction(_from_bits(near)) - target), near & 1))
    return math.copysign(_from_bits(best), guess)


def _from_bits(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


def _shortest(value: float) -> float:
    """The float64 nearest to the shortest decimal that reads back as the float32 `value`."""
    if value == 0:
        return value
    exact = Decimal(value)
    power_of_two = abs(math.frexp(value)[0]) == 0.5
    for digits in range(1, 10):
        rounded = [
            Context(prec=digits, rounding=rounding).plus(exact) for rounding in (ROUND_FLOOR, ROUND_CEILING)
        ]
        matching = [text for text in rounded if _reads_back(text, value)]
        if matching:
            # Of two equally near Go takes the even one, of those around a power of two the larger.
            return float(min(matching, key=lambda text: (abs(text - exact), _rank(text, power_of_two))))
    raise AssertionError("nine digits always identify a float32")


def _rank(text: Decimal, power_of_two: bool) -> Decimal:
    return -abs(text) if power_of_two else Decimal(text.as_tuple().digits[-1] % 2)


def _reads_back(text: Decimal, value: float) -> bool:
    as_float = float(text)
    return as_float != 0 and _nearest_float32(Fraction(text), as_float) == value


def _encoded(value: object, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        # Code points sort as their UTF-8 bytes do, which is how Go sorts keys.
        items = sorted(value.items())
        return "{" + ",".join(f"{_string(key)}:{_encoded(item, depth + 1)}" for key, item in items) + "}"
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return "[" + ",".join(_encoded(item, depth + 1) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _integer(text: str) -> float:
    # Minus zero is a float64 to Go, and written as such; as an int its sign would be lost.
    return -0.0 if text == "-0" else int(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} has no place in JSON")


def _string(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a key of JSON must be a text, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text contains half a surrogate pair") from None
    return '"' + _ESCAPED.sub(lambda found: _escape(found.group()), text) + '"'


def _escape(char: str) -> str:
    return _SHORT.get(char) or f"\\u{ord(char):04x}"
