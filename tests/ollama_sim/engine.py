"""Answers: deterministic text that says who it comes from, at the machine's pretended speed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ollama_sim import gotime

DEFAULT_RATE = 40.0
PROMPT_FACTOR = 20.0  # a prompt is read so much faster than an answer is written


@dataclass(frozen=True)
class Answer:
    """A complete answer; durations in nanoseconds."""

    words: tuple[str, ...]
    reason: str
    prompt_tokens: int
    rate: float

    @property
    def eval_duration(self) -> int:
        return round(len(self.words) / self.rate * gotime.SECOND)

    @property
    def prompt_duration(self) -> int:
        return round(self.prompt_tokens / (self.rate * PROMPT_FACTOR) * gotime.SECOND)

    def pieces(self) -> Iterator[str]:
        """The answer as it streams."""
        yield from self.words


def answer(model: str, prompt: str, *, limit: int, rate: float) -> Answer:
    """What the stand-in says to `prompt`: at most `limit` tokens, where it is not negative."""
    text = f"This is a stand-in for {model}; no model ran. You wrote {len(prompt)} characters, sum {_sum(prompt)}."
    words = tuple(re.findall(r"\s*\S+", text))
    reason = "stop"
    if 0 <= limit < len(words):
        words, reason = words[:limit], "length"
    return Answer(words, reason, max(len(tokens(prompt)), 1), rate)


def tokens(text: str) -> list[int]:
    """Token numbers of a text: one for each word, from its hash."""
    return [int.from_bytes(hashlib.sha256(w.encode()).digest()[:2], "big") for w in text.split()]


def embedding(text: str, width: int) -> list[float]:
    """A unit vector that belongs to the text."""
    raw = hashlib.shake_256(text.encode()).digest(max(width, 1) * 2)
    values = [int.from_bytes(raw[i : i + 2], "big") / 32768.0 - 1.0 for i in range(0, len(raw), 2)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [round(value / length, 8) for value in values]


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
