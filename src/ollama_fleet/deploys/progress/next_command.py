"""What to type after a failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from ollama_fleet.api.out_of_memory import out_of_memory
from ollama_fleet.deploys.progress.invocation import Invocation

MOST = 5
"""Hosts that a command names; of more it takes all."""
_NAMED = re.compile(r"`(ollama-fleet [^`]+)`")
_UNREACHED = (
    "could not connect",
    "connect to",
    "authentication",
    "sudo asks",
    "could not be read",
    "is not root",
)
_LEFT = "is left as it was"
_ANOTHER = "another apply is at work"
_LACKS = (" lacks ", "it runs on the cpu", "does not fit")


@dataclass(frozen=True, slots=True)
class Failed:
    """Hosts that failed in the same way."""

    hosts: tuple[str, ...]
    """Names in fleet.yaml."""
    limits: tuple[str, ...]
    """The same as pyinfra's `--limit` takes them."""
    operation: str
    """Where; empty before the first operation."""
    reason: str
    """One line; empty where nobody has said why."""


def next_command(failed: Failed, invocation: Invocation) -> str:
    """Return the command that finds out more or goes on from here.

    A command that the reason itself names comes first.
    """
    reason = failed.reason.casefold()
    if (named := _NAMED.search(failed.reason)) is not None:
        return named[1]
    if _LEFT in reason or _ANOTHER in reason:
        return invocation.again()
    if any(words in reason for words in _UNREACHED):
        return _ours("doctor", failed.hosts)
    if any(words in reason for words in _LACKS) or out_of_memory(failed.reason) is not None:
        return _ours("plan --explain", failed.hosts)
    if failed.operation == "Proof":
        return _ours("verify", failed.hosts)
    return invocation.again(failed.limits if len(failed.limits) <= MOST else ())


def _ours(verb: str, hosts: Sequence[str]) -> str:
    return " ".join(["ollama-fleet", verb, *(map(quote, hosts) if len(hosts) <= MOST else ())])
