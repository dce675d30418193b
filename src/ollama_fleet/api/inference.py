"""Questions to a model, and what came back with its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.api.client import STALL_TIMEOUT, Ollama
from ollama_fleet.api.errors import Refused, Unreachable

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer; times in seconds, 0 where the server gave none.

    An embedding model answers with a vector, whose length is `width`; its `text` is empty.
    """

    text: str
    done_reason: str
    tokens: int
    prompt_tokens: int
    load_seconds: float
    prompt_seconds: float
    seconds: float
    """For the tokens of the answer."""
    width: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """How fast the answer came; None for a vector, or where no time was told."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def prompt_tokens_per_second(self) -> float | None:
        """How fast the prompt was read; None where no time was told."""
        return (
            self.prompt_tokens / self.prompt_seconds if self.prompt_tokens and self.prompt_seconds else None
        )


def generate(
    server: Ollama,
    model: str,
    prompt: str,
    *,
    options: Mapping[str, Any] | None = None,
    keep_alive: str | int | None = None,
    timeout: float = STALL_TIMEOUT,
) -> Answer:
    """Let a model answer; it is loaded first where it is not in memory.

    Args:
        server: where the model is.
        model: its name.
        prompt: what it is asked.
        options: over the model's own, such as `num_predict` and `seed`.
        keep_alive: how long it stays loaded afterwards, as the API takes it; None leaves that as it is.
        timeout: seconds without any word from the server, the load included.

    Raises:
        ApiError: no answer, or an error, be it inside a stream that began well.
    """
    body = _body(model, options, keep_alive) | {"prompt": prompt}
    pieces, last = [], None
    for event in server.lines("/api/generate", body, timeout=timeout):
        # What a thinking model says before its answer counts as said.
        pieces.append(str(event.get("thinking") or "") + str(event.get("response") or ""))
        last = event
    if last is None or not last.get("done"):
        raise Unreachable("POST /api/generate: the answer broke off")
    return Answer(
        text="".join(pieces),
        done_reason=str(last.get("done_reason", "")),
        tokens=_count(last, "eval_count"),
        prompt_tokens=_count(last, "prompt_eval_count"),
        load_seconds=_seconds(last, "load_duration"),
        prompt_seconds=_seconds(last, "prompt_eval_duration"),
        seconds=_seconds(last, "eval_duration"),
    )


def embed(
    server: Ollama,
    model: str,
    text: str,
    *,
    options: Mapping[str, Any] | None = None,
    keep_alive: str | int | None = None,
    timeout: float = STALL_TIMEOUT,
) -> Answer:
    """Let an embedding model make a vector of a text; arguments and errors as for `generate`."""
    answer = server.post("/api/embed", _body(model, options, keep_alive) | {"input": text}, timeout=timeout)
    vectors = answer.get("embeddings")
    vector = vectors[0] if isinstance(vectors, list) and vectors else None
    if not isinstance(vector, list) or not all(_is_finite(number) for number in vector):
        raise Refused("POST /api/embed: the answer holds no vector of numbers")
    return Answer(
        text="",
        done_reason="stop",
        tokens=0,
        prompt_tokens=_count(answer, "prompt_eval_count"),
        load_seconds=_seconds(answer, "load_duration"),
        prompt_seconds=0.0,
        seconds=0.0,
        width=len(vector),
    )


def ask(
    server: Ollama,
    model: str,
    prompt: str,
    *,
    options: Mapping[str, Any] | None = None,
    keep_alive: str | int | None = None,
    timeout: float = STALL_TIMEOUT,
) -> Answer:
    """Let a model answer in the way that is its own: words, or a vector; arguments and errors as for `generate`."""
    try:
        return generate(server, model, prompt, options=options, keep_alive=keep_alive, timeout=timeout)
    except Refused as error:
        if "does not support generate" not in str(error):
            raise
    return embed(server, model, prompt, options=options, keep_alive=keep_alive, timeout=timeout)


def _body(model: str, options: Mapping[str, Any] | None, keep_alive: str | int | None) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model}
    if options:
        body["options"] = dict(options)
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    return body


def _count(answer: Mapping[str, Any], key: str) -> int:
    value = answer.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _seconds(answer: Mapping[str, Any], key: str) -> float:
    return _count(answer, key) / _NANOSECONDS


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)
