"""firewalld: rich rules at the head of every zone that decides about packets.

Rich rules carry no comments, so ours are known by their priority. It is the lowest there is: nothing that a
zone says goes before them, which is also why their place in the kernel tells which of the loaded rules are ours.
An opening counts as ours only beside the closing rule for the same port.

A zone of our own, bound to the sources, would take those sources out of the zones that let them in by SSH; a
policy or a service of our own needs a reload, which throws away what others have set for the running system only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.firewall_state import ANY, Action, FirewalldState, LoadedRule

OPENING_PRIORITY = -32768
CLOSING_PRIORITY = -32767


@dataclass(frozen=True, slots=True)
class ZoneChanges:
    """What would make our rules in one zone right: in its file, and in the running firewall."""

    zone: str
    add: tuple[LoadedRule, ...]
    remove: tuple[LoadedRule, ...]
    load: tuple[LoadedRule, ...]
    unload: tuple[LoadedRule, ...]


def rich_rule(rule: LoadedRule) -> str:
    """Return a rule of ours in firewalld's rich language."""
    words = ["rule", f'priority="{CLOSING_PRIORITY if rule.action == "deny" else OPENING_PRIORITY}"']
    if rule.source != ANY:
        network = ip_network(rule.source)
        words.append(f'family="ipv{network.version}"')
        if network.prefixlen:
            words.append(f'source address="{network}"')
    words.append(f'port port="{rule.port}" protocol="tcp"')
    words.append("drop" if rule.action == "deny" else "accept")
    return " ".join(words)


def wanted_rules(ports: Sequence[int], sources: Sequence[str] | None) -> list[LoadedRule]:
    """Our rules for one zone; `sources` None for none at all."""
    if sources is None:
        return []
    return [
        rule
        for port in ports
        for rule in (
            *(LoadedRule("allow", source, port) for source in sources),
            LoadedRule("deny", ANY, port),
        )
    ]


def changes(ports: Sequence[int], sources: Sequence[str] | None, state: FirewalldState) -> list[ZoneChanges]:
    """Compare our rules with the wanted ones, zone by zone; zones that are right are left out.

    A zone that is out of use keeps the rules it has got, as they would be wanted again: what comes and goes, such
    as the interface of a tunnel, is no drift.
    """
    wanted = wanted_rules(ports, sources)
    mine: dict[str, list[LoadedRule]] = {}
    for rule in state.rules:
        if rule.ours:
            mine.setdefault(rule.place, []).append(LoadedRule(rule.action, rule.source, rule.ports[0][0]))
    found = []
    for zone in dict.fromkeys((*state.zones, *mine)):
        there, here = mine.get(zone, []), [] if zone in state.refusing else wanted
        add, remove = _missing(here, there), _missing(there, here)
        loaded = None if state.loaded is None else state.loaded.get(zone)
        if loaded is None:
            load, unload = add, remove
        else:
            head = [rule for port in ports for rule in _head(loaded, port)]
            load = _missing(here, head)
            unload = tuple(dict.fromkeys((*_missing(head, here), *remove)))
        if add or remove or load or unload:
            found.append(ZoneChanges(zone, add, remove, load, unload))
    return found


def differences(
    ports: Sequence[int], sources: Sequence[str] | None, state: FirewalldState
) -> list[Difference]:
    """Say what `changes` would do."""
    found = []
    for zone in changes(ports, sources, state):
        on_disk = {*zone.add, *zone.remove}
        for rules, wanted, actual in (
            (zone.add, "present", "absent"),
            (zone.remove, "absent", "present"),
            ([rule for rule in zone.load if rule not in on_disk], "loaded", "on disk only"),
            ([rule for rule in zone.unload if rule not in on_disk], "absent", "loaded"),
        ):
            found += [Difference(_words(zone.zone, rule), wanted, actual) for rule in rules]
    return found


def _head(loaded: Sequence[LoadedRule], port: int) -> list[LoadedRule]:
    """The loaded rules about the port that are ours by their place: up to the closing one."""
    head = []
    for rule in loaded:
        if rule.port == port:
            head.append(rule)
            if rule.action == "deny" and rule.source == ANY:
                break
    return head


def _missing(wanted: Iterable[LoadedRule], there: Iterable[LoadedRule]) -> tuple[LoadedRule, ...]:
    present = set(there)
    return tuple(rule for rule in wanted if rule not in present)


def _words(zone: str, rule: LoadedRule) -> str:
    action: Action = rule.action
    return f"rule {action} {rule.port} from {rule.source} in zone {zone}"
