"""Waiting for the certificates that a front door asks of an ACME authority, and saying why none comes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from shlex import quote

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host

from ollama_fleet.api.handshake import check_certificate
from ollama_fleet.api.through import is_connected, own_address, ssh_transport
from ollama_fleet.api.transport import Opener, open_direct, open_through
from ollama_fleet.operations.context import StepFailed, step
from ollama_fleet.operations.readiness import LOST
from ollama_fleet.planner.items.access import WantedAccess
from ollama_fleet.planner.items.access.places import DUE, UNIT_NAME

PATIENCE = 90.0
"""Seconds for the certificates of all names."""
BETWEEN_LOOKS = 1.0
"""Seconds."""
TIMEOUT = 10.0
"""Seconds for a step of a handshake."""
LONGEST = 300
"""Characters of what the proxy says."""
_LOGGERS = ("tls.obtain", "tls.renew")
_NAMED = re.compile(r"^(\[[^]]*\] (\w+: )?)+")
"""What it says before each reason: `[gpu.lan] Obtain: [gpu.lan] `."""
_FIRST = re.compile(r"\[([^]]*)\]")
_GIVES_UP = "will retry"
"""What Caddy says before it waits for a minute or more."""


def certificates(wanted: WantedAccess) -> FunctionCommand:
    """A command that ends when the door shows a valid certificate for each of its names."""
    return step(
        lambda at: wait_for_certificates(at, wanted),
        "acme",
        doing=f"waiting for the certificate of {', '.join(wanted.certified)}",
    )


def wait_for_certificates(at: Host, wanted: WantedAccess, seconds: float = PATIENCE) -> None:
    """Return once the door shows a valid certificate for each of its names.

    Raises:
        StepFailed: the authority gives none, or none within `seconds`, or the host is gone.
    """
    begin = time.monotonic()
    missing = list(wanted.certified)
    while missing:
        try:
            _check(at, wanted, missing[0])
        except OSError as error:
            if not is_connected(at):
                raise StepFailed(LOST) from error
            reason, given_up = last_words(_log(at), missing[0])
            if given_up or time.monotonic() >= begin + seconds:
                raise StepFailed(_words(missing[0], reason or str(error), wanted)) from error
            time.sleep(BETWEEN_LOOKS)
        else:
            del missing[0]


def last_words(lines: Iterable[str], name: str) -> tuple[str, bool]:
    """Why the proxy got no certificate for a name, by its log, and whether it has given up for a while.

    Returns:
        The last reason, one line without what no terminal can show; empty where it tells none.
    """
    reason, given_up = "", False
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if not isinstance(told, dict) or told.get("logger") not in _LOGGERS or "error" not in told:
            continue
        error = " ".join(str(told["error"]).split())
        if _about(told, error).lower() not in ("", name.lower()):
            continue
        if "context canceled" in error:
            continue  # an attempt by the configuration of before, ended by the new one
        reason = "".join(letter for letter in _NAMED.sub("", error) if letter.isprintable())[:LONGEST]
        given_up = told.get("msg") == _GIVES_UP
    return reason, given_up


def _about(told: Mapping[str, object], error: str) -> str:
    """The name that a line is about; empty where it does not say."""
    there = _FIRST.match(error)
    return str(told.get("identifier", there[1] if there else ""))


def _check(at: Host, wanted: WantedAccess, name: str) -> None:
    transport = ssh_transport(at)
    opener: Opener = open_direct if transport is None else open_through(transport)
    address = own_address(wanted.address)
    check_certificate(opener, address, wanted.port, name, roots=wanted.roots, timeout=TIMEOUT)


def _log(at: Host) -> list[str]:
    """What the proxy has said of certificates since its files were replaced."""
    patterns = " ".join(f"""-e '"logger":"{logger}"'""" for logger in _LOGGERS)
    command = (
        f'journalctl --quiet --no-pager --output=cat --unit={quote(UNIT_NAME)} --since="@$(stat -c %Y {quote(DUE)})" '
        f"| grep -F {patterns} | tail -n 20"
    )
    told, output = at.run_shell_command(StringCommand(command), _sudo=bool(at.data.get("_sudo")), _timeout=20)
    return list(output.stdout_lines) if told else []


def _words(name: str, reason: str, wanted: WantedAccess) -> str:
    return (
        f"no certificate for {name}: {reason}; the authority must reach {name} on port {wanted.port}, and the host the "
        "authority. The proxy goes on trying; apply again"
    )
