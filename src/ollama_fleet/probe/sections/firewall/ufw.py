"""ufw: its settings, its rules as it keeps them, and whether the kernel has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ollama_fleet.planner.firewall_state import (
    ALL_PORTS,
    ANYWHERE,
    Action,
    FirewallRule,
    LoadedRule,
    Ports,
    UfwState,
    canonical,
)
from ollama_fleet.planner.layout import MARK

FILES = ("/etc/ufw/ufw.conf", "/etc/default/ufw", "/etc/ufw/user.rules", "/etc/ufw/user6.rules")
CONFIG, DEFAULTS, *RULES = FILES
TUPLE = "### tuple ### "
ACTIONS: Mapping[str, Action] = {"allow": "allow", "limit": "limit", "deny": "deny", "reject": "deny"}
LOADED = re.compile(
    r"-A ufw6?-user-input(?: -s (?P<source>\S+))? -p tcp -m tcp --dport (?P<port>\d+)"
    r" -j (?P<verdict>ACCEPT|DROP)\s*"
)


def is_on(files: Mapping[str, str]) -> bool:
    """Whether ufw's configuration switches it on."""
    return _setting(files.get(CONFIG, ""), "ENABLED") == "yes"


def parse(files: Mapping[str, str], loaded: str | None, loaded6: str | None) -> UfwState:
    """Return the state.

    Args:
        files: path to content.
        loaded: the chain with the user's rules in `iptables -S` notation; None where there is none.
        loaded6: the same for IPv6.
    """
    settings = files.get(DEFAULTS, "")
    ipv6 = _setting(settings, "IPV6") == "yes"
    rules = [
        rule
        for six, path in enumerate(RULES)
        for line in files.get(path, "").splitlines()
        for rule in _rules(line, six=bool(six))
        if ipv6 or not six
    ]
    return UfwState(
        "ufw",
        active=loaded is not None,
        rules=tuple(rules),
        default_deny=_setting(settings, "DEFAULT_INPUT_POLICY") in ("drop", "reject"),
        ipv6=ipv6,
        loaded=frozenset([*_loaded(loaded or "", ANYWHERE[0]), *_loaded(loaded6 or "", ANYWHERE[1])]),
    )


def _setting(text: str, key: str) -> str:
    found = re.findall(rf"""^\s*{key}\s*=\s*["']?(\w*)""", text, re.MULTILINE)
    return found[-1].lower() if found else ""


def _rules(line: str, *, six: bool) -> Iterator[FirewallRule]:
    """Read one rule: `ACTION PROTO DPORT DST SPORT SRC [DAPP SAPP] DIRECTION [comment=HEX]`.

    Rules about other protocols and directions, and those for forwarded packets, are passed over.
    """
    if not line.startswith(TUPLE):
        return
    words = line.removeprefix(TUPLE).split()
    comment = ""
    if words and words[-1].startswith("comment="):
        comment = _hex(words.pop().removeprefix("comment="))
    if len(words) not in (7, 9):
        return
    verdict, protocol, dport, destination, sport, source, *apps, direction = words
    action, _, log = verdict.partition("_")
    if action not in ACTIONS or protocol not in ("tcp", "any") or direction.partition("_")[0] != "in":
        return
    interface = direction.partition("_")[2]
    ports = _ports(dport)
    anywhere = ANYWHERE[six]
    whole = destination in ("any", anywhere)
    source = anywhere if source == "any" else canonical(source)
    text = [action, "in", *(["on", interface] if interface else []), *([log] if log else [])]
    text += [] if protocol == "any" else ["proto", protocol]
    text += ["from", source, *([] if sport == "any" else ["port", sport])]
    text += ["to", "any" if whole else destination, *([] if dport == "any" else ["port", dport])]
    # A rule by an application's name is none that we write, and naming its port would delete another one.
    ours = comment == MARK and not apps
    narrow = bool(interface or log or apps or not whole or sport != "any" or protocol != "tcp")
    plain = not narrow and len(ports) == 1 and ports[0][0] == ports[0][1]
    yield FirewallRule(ACTIONS[action], source, ports, ours=ours, plain=plain, text=" ".join(text))


def _hex(text: str) -> str:
    try:
        return bytes.fromhex(text).decode(errors="replace")
    except ValueError:
        return ""


def _ports(text: str) -> Ports:
    if text == "any":
        return (ALL_PORTS,)
    ranges = [part.partition(":") for part in text.split(",")]
    return tuple(
        (int(first), int(last or first))
        for first, _, last in ranges
        if first.isdigit() and (last or "0").isdigit()
    )


def _loaded(text: str, anywhere: str) -> Iterator[LoadedRule]:
    for line in text.splitlines():
        match = LOADED.fullmatch(line)
        if match:
            action: Action = "allow" if match["verdict"] == "ACCEPT" else "deny"
            yield LoadedRule(action, canonical(match["source"] or anywhere), int(match["port"]))
