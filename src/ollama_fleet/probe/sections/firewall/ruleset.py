"""The kernel's packet filter as `nft -j list ruleset` tells it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ollama_fleet.planner.firewall_state import (
    ALL_PORTS,
    ANY,
    ANYWHERE,
    Action,
    FirewallRule,
    Ports,
    canonical,
)

Rule = Mapping[str, Any]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
"""What nft itself takes as the name of a table or chain; others could not be addressed."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Chains and rules by place, `family table chain`."""

    chains: Mapping[str, Rule] = field(default_factory=dict)
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Ruleset:
        """Read nft's JSON. Raises ValueError where it is none."""
        chains: dict[str, Rule] = {}
        rules: dict[str, list[Rule]] = {}
        for entry in json.loads(text).get("nftables", []):
            if chain := entry.get("chain"):
                if all(NAME.fullmatch(str(chain[key])) for key in ("table", "name")):
                    chains[f"{chain['family']} {chain['table']} {chain['name']}"] = chain
            elif rule := entry.get("rule"):
                rules.setdefault(f"{rule['family']} {rule['table']} {rule['chain']}", []).append(rule)
        return cls(chains, {place: tuple(found) for place, found in rules.items()})

    def of(self, place: str) -> tuple[Rule, ...]:
        """The rules of a chain, in order."""
        return self.rules.get(place, ())


def parts(rule: Rule) -> Iterator[tuple[str, Any]]:
    """Yield a rule's expressions as (kind, content)."""
    for part in rule.get("expr", []):
        yield from part.items()


def targets(rule: Rule) -> list[str]:
    """Names of the chains that a rule jumps or goes to, also out of verdict maps."""
    return [
        str(content["target"])
        for kind, content in _deep(rule.get("expr", []))
        if kind in ("jump", "goto") and isinstance(content, dict) and "target" in content
    ]


def refuses(rule: Rule) -> bool:
    """Whether a rule itself may drop or reject; not known are targets of `xt` and named verdict maps."""
    return any(
        kind in ("drop", "reject", "queue")
        or (kind == "xt" and isinstance(content, dict) and content.get("type") == "target")
        or (kind == "vmap" and isinstance(content, dict) and isinstance(content.get("data"), str))
        for kind, content in _deep(rule.get("expr", []))
    )


def tcp_ports(rule: Rule) -> Ports:
    """TCP ports to which a rule may apply; none where it is about another protocol."""
    for kind, content in parts(rule):
        if kind != "match" or content.get("op") not in ("==", "in"):
            continue
        payload = content["left"].get("payload", {})
        if payload.get("field") == "dport":
            return _ports(content["right"]) if payload.get("protocol") in ("tcp", "th") else ()
        if content["left"].get("meta", {}).get("key") == "l4proto" and content["right"] in ("udp", "icmp"):
            return ()
    return (ALL_PORTS,)


def _deep(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, content in value.items():
            yield str(key), content
            yield from _deep(content)
    elif isinstance(value, list):
        for item in value:
            yield from _deep(item)


def understood(rule: Rule, place: str) -> FirewallRule | None:
    """Return a rule about TCP where only a source and ports decide; None for any other.

    Connection tracking, counters and logs do not matter here.
    """
    source, tcp = ANY, False
    ports: Ports = (ALL_PORTS,)
    action: Action | None = None
    for kind, content in parts(rule):
        if kind == "match" and content.get("op") in ("==", "in"):
            left, right = content["left"], content["right"]
            payload, meta = left.get("payload", {}), left.get("meta", {})
            if payload.get("field") == "saddr" and payload.get("protocol") in ("ip", "ip6"):
                source = source_of(content)
            elif payload.get("protocol") == "tcp" and payload.get("field") == "dport":
                ports, tcp = _ports(right), True
            elif meta.get("key") == "nfproto":
                source = ANYWHERE[right == "ipv6"] if source == ANY else source
            elif meta.get("key") == "l4proto" and right == "tcp":
                tcp = True
            elif left.get("ct", {}).get("key") != "state" or "new" not in _words(right):
                return None
        elif kind in ("accept", "drop", "reject"):
            action = "allow" if kind == "accept" else "deny"
        elif kind not in ("counter", "log"):
            return None
    if action is None or not (tcp or ports == (ALL_PORTS,)) or not ports:
        return None
    return FirewallRule(action, source, ports, text=listed(rule), place=place)


def _words(value: object) -> list[object]:
    found = value.get("set", []) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return list(found) if isinstance(found, list) else []


def source_of(match: Rule) -> str:
    """The network that a match on the source address compares with; JSON where it is a set."""
    value = match["right"]
    if isinstance(value, dict) and (prefix := value.get("prefix")):
        return canonical(f"{prefix['addr']}/{prefix['len']}")
    return canonical(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _ports(value: object) -> Ports:
    found: list[tuple[int, int]] = []
    for item in value["set"] if isinstance(value, dict) and isinstance(value.get("set"), list) else [value]:
        if isinstance(item, int):
            found.append((item, item))
        elif isinstance(item, dict) and isinstance(item.get("range"), list):
            first, last = item["range"]
            found.append((int(first), int(last)))
        else:
            return (ALL_PORTS,)  # a named set or a service: it may be any
    return tuple(found)


def listed(rule: Rule) -> str:
    """Write a rule as we would have written it; what we never write comes out as JSON."""
    words = []
    for kind, content in parts(rule):
        if kind == "match" and content.get("op") == "==":
            words.append(f"{_left(content['left'])} {_right(content['left'], content['right'])}")
        elif kind in ("accept", "drop"):
            words.append(kind)
        elif kind != "counter":
            words.append(json.dumps({kind: content}, sort_keys=True))
    if rule.get("comment"):
        words.append(f'comment "{rule["comment"]}"')
    return " ".join(words)


def _left(left: Rule) -> str:
    if payload := left.get("payload"):
        return f"{payload.get('protocol')} {payload.get('field')}"
    if meta := left.get("meta"):
        key = str(meta.get("key"))
        return key if key in ("iif", "iifname") else f"meta {key}"
    return json.dumps(left, sort_keys=True)


def _right(left: Rule, right: object) -> str:
    if isinstance(right, dict) and (prefix := right.get("prefix")):
        return f"{prefix['addr']}/{prefix['len']}"
    if isinstance(right, str) and left.get("payload", {}).get("field") == "saddr":
        return canonical(right)
    if isinstance(right, str) and left.get("meta", {}).get("key") == "iif":
        return f'"{right}"'
    return right if isinstance(right, str) else json.dumps(right, sort_keys=True)
