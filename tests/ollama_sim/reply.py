"""What an endpoint gives back: one body, a stream of lines, or an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ollama_sim import gojson
from ollama_sim.progress import Progress


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Reply:
    """An answer with one body. Text where `body` is a str, JSON otherwise, nothing where it is None."""

    body: Any = None
    code: int = 200


@dataclass
class Stream:
    """An answer in lines. `run` is called with the writer; what it raises becomes an error line.

    `collect` makes the one body of a request with `stream: false` out of all lines.
    """

    run: Callable[[Progress], None]
    stream: bool = True
    collect: Callable[[list[gojson.Struct]], gojson.Struct] = field(default=lambda lines: lines[-1])
