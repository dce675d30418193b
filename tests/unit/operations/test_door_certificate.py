"""Why a front door has no certificate, out of the proxy's log. The lines are those of Caddy 2.6.2."""

from __future__ import annotations

import json

from ollama_fleet.operations.door_certificate import LONGEST
from ollama_fleet.operations.door_certificate import last_words as last_words_of

REFUSED = (
    'performing request: Get "https://ca.lan/directory": dial tcp 10.0.0.2:443: connect: connection refused'
)


def last_words(lines: list[str]) -> tuple[str, bool]:
    return last_words_of(lines, "gpu.lan")


def line(msg: str, error: str | None = None, logger: str = "tls.obtain") -> str:
    told = {"level": "error", "ts": 1.5, "logger": logger, "msg": msg}
    return json.dumps(told if error is None else told | {"error": error})


def test_no_reason_while_it_is_at_work() -> None:
    assert last_words([line("obtaining certificate"), "caddy starts", "", "[1]", "{"]) == ("", False)


def test_the_last_reason_and_whether_it_goes_on_at_once() -> None:
    lines = [line("could not get certificate from issuer", "one"), line("could not get certificate", REFUSED)]
    assert last_words(lines) == (REFUSED, False)
    assert last_words([*lines, line("will retry", f"[gpu.lan] Obtain: [gpu.lan] {REFUSED}")]) == (
        REFUSED,
        True,
    )


def test_an_attempt_that_a_new_configuration_ended_says_nothing() -> None:
    assert last_words([line("will retry", "obtaining: context canceled")]) == ("", False)


def test_other_errors_are_not_taken_for_it() -> None:
    assert last_words([line("will retry", "x", logger="http.log")]) == ("", False)


def test_it_is_one_line_that_any_terminal_can_show() -> None:
    reason, _ = last_words([line("will retry", "a\n\tb\x1b[31m " + "c" * 1000)])
    assert reason.startswith("a b[31m c")
    assert len(reason) == LONGEST


def test_another_name_has_reasons_of_its_own() -> None:
    lines = [line("will retry", f"[GPU.lan] Obtain: {REFUSED}"), line("will retry", "[b.lan] Obtain: no")]
    assert last_words(lines) == (REFUSED, True)
    other = json.loads(line("could not get certificate from issuer", "no")) | {"identifier": "b.lan"}
    assert last_words([json.dumps(other)]) == ("", False)
