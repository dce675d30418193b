"""JSON byte for byte as Go's encoder writes it: digests depend on it."""

from __future__ import annotations

import json
import math
from typing import Any

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


class Struct(dict[str, Any]):
    """A Go struct: its fields keep their order. A plain dict is a Go map: its keys are sorted."""

    def without_empty(self, *fields: str) -> Struct:
        """Leave out those of `fields` that hold their zero value, as `omitempty` does."""
        return Struct((k, v) for k, v in self.items() if k not in fields or v not in ("", 0, None, [], {}))


def encode(value: Any) -> str:
    """The text of `json.Marshal(value)`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(encode(item) for item in value) + "]"
    if isinstance(value, Struct):
        return "{" + ",".join(f"{_string(k)}:{encode(v)}" for k, v in value.items()) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_string(k)}:{encode(value[k])}" for k in sorted(value)) + "}"
    raise TypeError(f"no JSON for {type(value).__name__}")


def encode_line(value: Any) -> bytes:
    """The bytes of `json.NewEncoder(w).Encode(value)`: one line with its newline."""
    return encode(value).encode("utf-8", "replace") + b"\n"


def decode(text: str | bytes) -> Any:
    """Decode into Go's `any`: every number is a float64."""
    return json.loads(text, parse_int=float)


def number(value: float) -> str:
    """A float64 in Go's shortest form: plain between 1e-6 and 1e21, otherwise with an exponent."""
    if math.isnan(value) or math.isinf(value):
        raise ValueError("json: unsupported value")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, exponent = _shortest(abs(value))
    sign = "-" if value < 0 else ""
    if 1e-6 <= abs(value) < 1e21:
        return sign + _plain(digits, exponent)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    power = exponent - 1
    # Go cleans e-09 up to e-9, and leaves e+21 as it is.
    shown = f"{abs(power)}" if power < 0 else f"{power:02d}"
    return f"{sign}{mantissa}e{'-' if power < 0 else '+'}{shown}"


def _shortest(value: float) -> tuple[str, int]:
    """Digits d1d2… and exponent x with value = 0.d1d2… * 10**x."""
    mantissa, _, power = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole) if whole != "0" else -(len(fraction) - len(fraction.lstrip("0")))
    return digits.rstrip("0") or "0", leading + int(power or 0)


def _plain(digits: str, exponent: int) -> str:
    if exponent <= 0:
        return "0." + "0" * -exponent + digits
    if exponent >= len(digits):
        return digits + "0" * (exponent - len(digits))
    return digits[:exponent] + "." + digits[exponent:]


def _string(text: str) -> str:
    out = ['"']
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char < " ":
            out.append(f"\\u{ord(char):04x}")
        elif "\ud800" <= char <= "\udfff":
            out.append("\\ufffd")
        else:
            out.append(char)
    out.append('"')
    return "".join(out)
