"""firewalld: the zones in use, the rules in their files, and what the kernel has of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from xml.etree import ElementTree

from ollama_fleet.planner.firewall_state import (
    ALL_PORTS,
    ANY,
    ANYWHERE,
    FirewalldState,
    FirewallRule,
    LoadedRule,
    Ports,
    canonical,
)
from ollama_fleet.planner.items.firewall.firewalld import CLOSING_PRIORITY, OPENING_PRIORITY
from ollama_fleet.probe.sections.firewall.ruleset import Rule, Ruleset, parts, source_of, targets, understood

CONFIG = "/etc/firewalld/firewalld.conf"
FILES = (CONFIG, "/etc/firewalld/zones/*.xml")
TABLE = "inet firewalld"
ZONE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
CHAIN = "filter_IN_"
"""The chain of a zone is called this and the zone; its first rules are in one that is called so and `_pre`."""
REFUSING = ("DROP", "%%REJECT%%")
BUILT_IN_REFUSING = ("block", "drop")

Binding = Literal["source", "interface"]


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone's file, or the zone as it comes with firewalld where there is no file."""

    refuses: bool
    interfaces: bool = False
    sources: tuple[str, ...] = ()
    rules: tuple[FirewallRule, ...] = ()


def parse(files: Mapping[str, str], ruleset: Ruleset | None) -> FirewalldState:
    """Return the state.

    Args:
        files: path to content.
        ruleset: what the kernel has loaded; None where it could not be asked.
    """
    zones = {
        PurePosixPath(path).stem: _zone(PurePosixPath(path).stem, text)
        for path, text in files.items()
        if path.endswith(".xml") and ZONE.fullmatch(PurePosixPath(path).stem)
    }
    found = re.findall(r"^\s*DefaultZone\s*=\s*(\S+)", files.get(CONFIG, ""), re.MULTILINE)
    default = found[-1] if found and ZONE.fullmatch(found[-1]) else "public"
    running = None if ruleset is None else dict(_running(ruleset))
    in_use = {default, *(name for name, zone in zones.items() if zone.interfaces or zone.sources)}
    in_use.update(running or {})
    deciding, refusing = [], {}
    for name in sorted(in_use):
        zone = zones.get(name, _Zone(name in BUILT_IN_REFUSING))
        general = name == default or zone.interfaces or "interface" in (running or {}).get(name, ())
        if zone.refuses and not general:
            refusing[name] = tuple(dict.fromkeys((*zone.sources, *_sources(ruleset, name))))
        else:
            deciding.append(name)
    return FirewalldState(
        "firewalld",
        active=True,
        rules=tuple(rule for _, zone in sorted(zones.items()) for rule in zone.rules),
        zones=tuple(deciding),
        written=frozenset(zones),
        refusing=refusing,
        loaded=None
        if ruleset is None or not running
        else {name: _first_rules(ruleset, name) for name in running},
    )


# -- the kernel ------------------------------------------------------------------------------------


def _dispatching(ruleset: Ruleset) -> Iterator[tuple[str, Rule]]:
    """The rules that send packets to zones, each with its zone."""
    for place in ruleset.rules:
        if place.startswith(f"{TABLE} filter_INPUT_ZONES"):
            for rule in ruleset.of(place):
                for target in targets(rule):
                    zone = target.removeprefix(CHAIN)
                    if target.startswith(CHAIN) and ZONE.fullmatch(zone):
                        yield zone, rule


def _running(ruleset: Ruleset) -> dict[str, set[Binding]]:
    """Zones in use, and whether sources or interfaces are bound to them; the default zone takes all others."""
    found: dict[str, set[Binding]] = {}
    for zone, rule in _dispatching(ruleset):
        by_source = any(
            kind == "match" and "iifname" not in str(content.get("left")) for kind, content in parts(rule)
        )
        found.setdefault(zone, set()).add("source" if by_source else "interface")
    return found


def _sources(ruleset: Ruleset | None, zone: str) -> Iterator[str]:
    for name, rule in () if ruleset is None else _dispatching(ruleset):
        if name == zone:
            yield from (source_of(content) for kind, content in parts(rule) if _is_source(kind, content))


def _is_source(kind: str, content: Rule) -> bool:
    return kind == "match" and content["left"].get("payload", {}).get("field") == "saddr"


def _first_rules(ruleset: Ruleset, zone: str) -> tuple[LoadedRule, ...]:
    found = (understood(rule, zone) for rule in ruleset.of(f"{TABLE} {CHAIN}{zone}_pre"))
    return tuple(
        LoadedRule(rule.action, rule.source, rule.ports[0][0])
        for rule in found
        if rule is not None and len(rule.ports) == 1 and rule.ports[0][0] == rule.ports[0][1]
    )


# -- the files -------------------------------------------------------------------------------------


def _zone(name: str, text: str) -> _Zone:
    root = _xml(text)
    if root is None:
        return _Zone(name in BUILT_IN_REFUSING)
    rules = [rule for rule in (_rule(name, element) for element in root) if rule is not None]
    closed = {
        rule.ports
        for priority, rule in rules
        if priority == CLOSING_PRIORITY and rule.plain and rule.source == ANY
    }
    bound = (
        item.get("address") or item.get("ipset") or item.get("mac") or "" for item in root.findall("source")
    )
    return _Zone(
        refuses=root.get("target", "default") in REFUSING,
        interfaces=root.find("interface") is not None,
        sources=tuple(canonical(source) for source in bound),
        rules=tuple(_marked(priority, rule, closed) for priority, rule in rules),
    )


def _marked(priority: int, rule: FirewallRule, closed: Iterable[object]) -> FirewallRule:
    wanted = CLOSING_PRIORITY if rule.action == "deny" else OPENING_PRIORITY
    if not rule.plain or priority != wanted or rule.ports not in closed:
        return rule
    if rule.action == "deny" and rule.source != ANY:
        return rule
    return FirewallRule(rule.action, rule.source, rule.ports, ours=True, text=rule.text, place=rule.place)


def _rule(zone: str, element: ElementTree.Element) -> tuple[int, FirewallRule] | None:
    """Read an element that opens or refuses TCP ports, with its priority; None for any other."""
    if element.tag == "port":
        ports = _ports(element)
        text = f"port {element.get('port')}/{element.get('protocol')}"
        return (
            None
            if ports is None
            else (0, FirewallRule("allow", ANY, ports, plain=False, text=text, place=zone))
        )
    if element.tag == "service" and element.get("name") == "ssh":
        return 0, FirewallRule("allow", ANY, ((22, 22),), plain=False, text="service ssh", place=zone)
    if element.tag != "rule":
        return None
    tags = {child.tag for child in element}
    verdict = tags & {"accept", "drop", "reject"}
    port = element.find("port")
    ports = (ALL_PORTS,) if tags <= {"source", "accept", "drop", "reject"} else _ports(port)
    priority = element.get("priority", "0")
    if len(verdict) != 1 or ports is None or not re.fullmatch(r"-?\d+", priority):
        return None
    source = element.find("source")
    family = element.get("family")
    if source is None:
        network = ANY if family is None else ANYWHERE[family == "ipv6"]
    else:
        network = canonical(source.get("address") or "".join(f"{k}={v}" for k, v in source.items()))
        network = f"not {network}" if source.get("invert", "no").lower() in ("yes", "true") else network
    plain = (
        tags <= {"source", "port", "accept", "drop"}
        and port is not None
        and ports[0][0] == ports[0][1]
        and all(len(child) == 0 for child in element)
    )
    words = [child.tag + "".join(f" {k}={v}" for k, v in child.items()) for child in element]
    text = " ".join(["rule", *(f"{k}={v}" for k, v in element.items()), *words])
    action: Literal["allow", "deny"] = "allow" if "accept" in verdict else "deny"
    return int(priority), FirewallRule(action, network, ports, plain=plain, text=text, place=zone)


def _ports(element: ElementTree.Element | None) -> Ports | None:
    if element is None or element.get("protocol") != "tcp":
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", element.get("port", ""))
    return None if match is None else ((int(match[1]), int(match[2] or match[1])),)


def _xml(text: str) -> ElementTree.Element | None:
    """Read a zone's file; one that is no XML, or declares entities, is none that firewalld wrote."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - without a document type there is nothing to expand
    except ElementTree.ParseError:
        return None
