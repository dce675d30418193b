"""Prompts of a wanted length in tokens, of words that every vocabulary has."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.inference import Answer, ask

_COMMON = "the of and to in a is that it for was on are with as be at this have from or an they by we you"
WORDS = tuple(_COMMON.split())
SHORT, LONG = 16, 144
"""Words of the two prompts by which it is found how many tokens a word is."""
VARIED = {"temperature": 1.0, "repeat_penalty": 1.0}
"""Servers to 0.24 end an answer without a word when one token comes thirty times in a row."""
SPARE = 16
"""Tokens that are left free of the context beside the answer: a template's own vary a little with the prompt."""


def words(count: int, seed: int) -> str:
    """So many words; another seed gives others from the first on, so that no cache of an earlier prompt serves."""
    drawn = random.Random(seed)  # noqa: S311 - only to differ
    return " ".join(drawn.choice(WORDS) for _ in range(max(count, 1)))


@dataclass(frozen=True, slots=True)
class Gauge:
    """How many tokens a prompt of words becomes: `offset` for what the template adds, `per_word` for each."""

    offset: float
    per_word: float

    def words_for(self, tokens: int) -> int:
        """Words that become at most so many tokens."""
        return max(int((tokens - self.offset) / self.per_word), 1)


def gauge(
    server: Ollama,
    model: str,
    *,
    options: Mapping[str, Any],
    context: int,
    keep_alive: str | int,
    timeout: float,
    seed: int = 1,
) -> tuple[Gauge, Answer]:
    """Ask two short prompts; returns what a word is in tokens, and the second answer, which no load slowed down.

    `context` is the model's, in tokens; the prompts stay well within.

    Raises:
        ApiError: the model does not answer.
    """
    asked = {**options, **VARIED, "num_predict": 16, "seed": 1}
    short = max(min(SHORT, context // 32), 1)
    long = max(min(LONG, context // 8), short + 1)
    answers = [
        ask(server, model, words(count, seed + place), options=asked, keep_alive=keep_alive, timeout=timeout)
        for place, count in enumerate((short, long))
    ]
    tokens = [answer.prompt_tokens for answer in answers]
    per_word = (tokens[1] - tokens[0]) / (long - short) if tokens[1] > tokens[0] else 1.5
    per_word = max(per_word, 0.5)
    return Gauge(max(tokens[1] - per_word * long, 0.0), per_word), answers[1]
