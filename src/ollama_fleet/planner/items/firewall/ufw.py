"""ufw: rules of ours carry our name as their comment; whatever else is there stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.firewall_state import ANYWHERE, Action, FirewallRule, LoadedRule, UfwState


@dataclass(frozen=True, slots=True)
class UfwChanges:
    """What would make ufw's rules right, in this order."""

    remove: tuple[FirewallRule, ...] = ()
    add: tuple[FirewallRule, ...] = ()
    reload: tuple[FirewallRule, ...] = ()
    """Rules that ufw keeps and the kernel lacks."""


def rule(action: Action, source: str, port: int) -> FirewallRule:
    """Return a rule of ours."""
    return FirewallRule(
        action,
        source,
        ((port, port),),
        ours=True,
        text=f"{action} proto tcp from {source} to any port {port}",
    )


def wanted_rules(ports: Sequence[int], sources: Sequence[str] | None, state: UfwState) -> list[FirewallRule]:
    """Our rules in ufw's order; a closing deny stands only where ufw would let others in.

    Args:
        ports: TCP ports.
        sources: who may reach it; None for no rules of ours at all.
        state: says what ufw does about others, and whether it takes IPv6 rules.
    """
    if sources is None:
        return []
    rules = [rule("allow", source, port) for port in ports for source in sources]
    if not state.default_deny:
        rules += [
            rule("deny", anywhere, port) for port in ports for anywhere in ANYWHERE if anywhere not in sources
        ]
    return [item for item in rules if state.ipv6 or ip_network(item.source).version == 4]


def changes(ports: Sequence[int], sources: Sequence[str] | None, state: UfwState) -> UfwChanges:
    """Compare ufw's rules with those wanted of us.

    ufw knows a rule by source and port alone, so ours and somebody else's cannot both be there. One that lets in
    whom we would let in will do; one that refuses them gives way to ours. One for everybody stays where ours would
    only close: what it opens is told.
    """
    wanted = wanted_rules(ports, sources, state)
    mine = [item for item in state.rules if item.ours]
    theirs = {(item.source, item.ports): item.action for item in state.rules if item.plain and not item.ours}
    missing: list[FirewallRule] = []
    kept: list[FirewallRule] = []
    there = Counter(item.key for item in mine if item.plain)
    for item in wanted:
        other = theirs.get((item.source, item.ports))
        if there[item.key]:
            kept.append(item)
        elif other is None or (item.action == "allow" and other == "deny"):
            missing.append(item)
    if _out_of_order(state.rules, missing):
        # ufw appends, and takes the first rule that matches: a deny must come after every allow.
        late = [item for item in kept if item.action == "deny"]
        kept = [item for item in kept if item.action != "deny"]
        missing += late
    remaining = Counter(item.key for item in kept)
    gone = []
    for item in mine:
        if item.plain and remaining[item.key]:
            remaining[item.key] -= 1
        else:
            gone.append(item)
    unloaded = [item for item in kept if state.loaded is not None and _loaded(item) not in state.loaded]
    return UfwChanges(tuple(gone), tuple(missing), tuple(unloaded))


def differences(ports: Sequence[int], sources: Sequence[str] | None, state: UfwState) -> list[Difference]:
    """Say what `changes` would do."""
    needed = changes(ports, sources, state)
    theirs = {(item.source, item.ports): item.action for item in state.rules if item.plain}
    removed = {item.key for item in needed.remove}
    found = []
    for item in needed.add:
        if item.key in removed:
            found.append(Difference(_words(item), "last", "before an allow"))
        else:
            there = theirs.get((item.source, item.ports))
            found.append(Difference(_words(item), "present", there or "absent"))
    added = {item.key for item in needed.add}
    found += [
        Difference(_words(item), "absent", "present") for item in needed.remove if item.key not in added
    ]
    found += [Difference(_words(item), "loaded", "on disk only") for item in needed.reload]
    return found


def _out_of_order(rules: Sequence[FirewallRule], missing: Sequence[FirewallRule]) -> bool:
    """Whether an allow of ours stands, or would be appended, after a deny of ours for the same family."""
    mine = [item for item in rules if item.ours] + [item for item in missing if item.action == "allow"]
    for version in ANYWHERE:
        denied = False
        for item in mine:
            if (":" in item.source) != (":" in version):
                continue
            if item.action == "deny":
                denied = True
            elif denied:
                return True
    return False


def _loaded(item: FirewallRule) -> LoadedRule:
    return LoadedRule(item.action, item.source, item.ports[0][0])


def _words(item: FirewallRule) -> str:
    ports = ",".join(str(first) if first == last else f"{first}:{last}" for first, last in item.ports)
    return f"rule {item.action} {ports} from {item.source}"
