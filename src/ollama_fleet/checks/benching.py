"""How fast a placement reads and writes on a live host, under several loads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ollama_fleet.api.client import Ollama
from ollama_fleet.api.errors import ApiError
from ollama_fleet.api.inference import Answer, ask
from ollama_fleet.checks.bench_figures import Run, Series
from ollama_fleet.checks.filling import SPARE, VARIED, Gauge, gauge, words
from ollama_fleet.checks.residents import STAY

ANSWER = 64
"""Tokens of each answer: long enough that the first few do not count."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is run: fills in percent of the context, numbers of requests at once, repeats of each after a warm-up.

    `answer` is the length of each answer in tokens; `timeout` seconds without a word.
    """

    fills: tuple[int, ...] = (0, 50, 90)
    concurrencies: tuple[int, ...] = (1,)
    repeat: int = 5
    timeout: float = 600.0
    answer: int = ANSWER


def bench(
    connect: Callable[[], Ollama], model: str, num_ctx: int, pattern: Pattern, told: Callable[[Run], None]
) -> list[Run]:
    """Run all patterns against one model, with its own options.

    Args:
        connect: makes a client of its own for each request that runs at the same time.
        model: its name.
        num_ctx: the context of one request, in tokens.
        pattern: what to run.
        told: is given each run as it is made.

    Raises:
        ApiError: the model does not answer, or not any more.
    """
    clients = [connect() for _ in range(max(pattern.concurrencies))]
    try:
        measure, _ = gauge(
            clients[0], model, options={}, keep_alive=STAY, timeout=pattern.timeout, context=num_ctx
        )
        runs = []
        for fill in pattern.fills:
            for concurrency in pattern.concurrencies:
                run = _pattern(clients[:concurrency], model, num_ctx, measure, pattern, fill)
                told(run)
                runs.append(run)
        return runs
    finally:
        for client in clients:
            client.close()


def _pattern(
    clients: Sequence[Ollama], model: str, num_ctx: int, measure: Gauge, pattern: Pattern, fill: int
) -> Run:
    answer = min(pattern.answer, max(num_ctx // 4, 1))
    tokens = min(num_ctx * fill // 100, num_ctx - answer - SPARE)
    count = measure.words_for(tokens) if fill else 16
    prompts: list[float] = []
    generations: list[float] = []
    throughputs: list[float] = []
    for round_ in range(pattern.repeat + 1):
        begun = time.monotonic()
        answers = _together(
            clients, model, count, answer, seed=1000 * (fill + 1) + 10 * round_, pattern=pattern
        )
        wall = time.monotonic() - begun
        if round_ == 0:
            continue  # the warm-up
        prompts += [rate for one in answers if (rate := one.prompt_tokens_per_second) is not None]
        generations += [rate for one in answers if (rate := one.tokens_per_second) is not None]
        if wall > 0 and (written := sum(one.tokens for one in answers)):
            throughputs.append(written / wall)
    return Run(fill, len(clients), Series.of(prompts), Series.of(generations), Series.of(throughputs))


def _together(
    clients: Sequence[Ollama], model: str, count: int, answer: int, *, seed: int, pattern: Pattern
) -> list[Answer]:
    """Ask once by each client, all at the same time. Raises the first ApiError."""
    answers: list[Answer] = []
    failures: list[ApiError] = []

    def one(place: int, client: Ollama) -> None:
        options = {**VARIED, "num_predict": answer, "seed": seed + place}
        prompt = words(count, seed + place)
        try:
            answers.append(
                ask(client, model, prompt, options=options, keep_alive=STAY, timeout=pattern.timeout)
            )
        except ApiError as error:
            failures.append(error)

    threads = [
        threading.Thread(target=one, args=(place, client), daemon=True)
        for place, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return answers
