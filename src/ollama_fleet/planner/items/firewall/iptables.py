"""The legacy tables of iptables: a chain of our own in each family, which INPUT asks before anything else.

Unlike in nftables a verdict to accept is the last word here, so our chain opens the ports and closes them too;
what it says nothing about goes on to the host's own rules. Each family changes in one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from shlex import split
from typing import Literal

from ollama_fleet.planner.difference import Difference, compare
from ollama_fleet.planner.firewall_state import LegacyTable

CHAIN = "OLLAMA-FLEET"
JUMP = f"-j {CHAIN}"

Tables = Mapping[Literal[4, 6], LegacyTable]

_DELETE_JUMPS = f"sed -n 's/^-A \\(INPUT .*-j {CHAIN}\\)$/-D \\1/p'"
"""Also those that somebody made of ours, with conditions."""

REMOVAL = f"""for tables in iptables-legacy iptables ip6tables-legacy ip6tables; do
  names=/proc/net/ip_tables_names
  case $tables in ip6*) names=/proc/net/ip6_tables_names ;; esac
  # Asking for rules would make the table where there is none.
  grep -qsx filter $names && command -v $tables >/dev/null && $tables -w 10 -S {CHAIN} >/dev/null 2>&1 || continue
  old=$($tables -w 10 -S INPUT | {_DELETE_JUMPS})
  printf '%s\\n' '*filter' "$old" '-F {CHAIN}' '-X {CHAIN}' COMMIT | $tables-restore -w 10 --noflush
done"""
"""Shell that takes our chain away, whatever the command is called here."""


def own_rules(ports: Sequence[int], sources: Sequence[str], version: Literal[4, 6]) -> tuple[str, ...]:
    """The rules of our chain, as `-S` would list them."""
    rules = ["-i lo -j RETURN"]
    for port in ports:
        what = f"-p tcp -m tcp --dport {port}"
        for source in sources:
            network = ip_network(source)
            if network.version == version:
                rules.append(f"-s {network} {what} -j ACCEPT" if network.prefixlen else f"{what} -j ACCEPT")
        rules.append(f"{what} -j DROP")
    return tuple(rules)


def loading(ports: Sequence[int], sources: Sequence[str], tables: Tables) -> str:
    """Shell that puts our chain in place and asks it first; what it put there before goes in the same step."""
    return "".join(_loading(table.command, own_rules(ports, sources, six)) for six, table in tables.items())


def _loading(command: str, rules: Sequence[str]) -> str:
    lines = "\n".join(f"-A {CHAIN} {rule}" for rule in rules)
    return f"""old=$({command} -w 10 -S INPUT | {_DELETE_JUMPS})
{command}-restore -w 10 --noflush <<RULES
*filter
:{CHAIN} - [0:0]
$old
{lines}
-I INPUT 1 {JUMP}
COMMIT
RULES
"""


def differences(ports: Sequence[int], sources: Sequence[str] | None, tables: Tables) -> list[Difference]:
    """Compare the rules in the kernel; what is on disk is compared elsewhere.

    Args:
        ports: TCP ports.
        sources: who may reach it; None for no rules of ours at all.
        tables: what the kernel has loaded.
    """
    found = []
    for six, table in tables.items():
        jumps = [rule for rule in table.incoming if _target(rule) == CHAIN]
        name = f"IPv{six} chain {CHAIN}"
        if sources is None:
            if table.own is not None:
                found.append(Difference(name, "absent", "present"))
            continue
        found += compare(name, "; ".join(own_rules(ports, sources, six)), _list(table.own))
        found += compare(f"IPv{six} INPUT asks it", "first", _place(table.incoming, jumps, ports))
    return found


def _place(incoming: Sequence[str], jumps: Sequence[str], ports: Sequence[int]) -> str:
    """Where our chain is asked; rules before it that cannot decide about our ports do not count."""
    if not jumps:
        return "never"
    if list(jumps) != [JUMP]:
        return "; ".join(jumps)
    ahead = [rule for rule in incoming[: incoming.index(JUMP)] if _may_decide(rule, ports)]
    return f"after {ahead[0]}" if ahead else "first"


def _may_decide(rule: str, ports: Sequence[int]) -> bool:
    """Whether a rule might let somebody in to one of the ports, or keep them out; true where that is not known."""
    words = split(rule)
    said = {
        words[place]: words[place + 1]
        for place in range(len(words) - 1)
        if words[place].startswith("-") and (place == 0 or words[place - 1] != "!")
    }
    if said.get("-p", "tcp") not in ("tcp", "all") or said.get("-i") == "lo":
        return False
    states = said.get("--ctstate") or said.get("--state")
    if states is not None and "NEW" not in states.split(","):
        return False
    named = said.get("--dport") or said.get("--dports")
    if named is not None and not any(_covers(named, port) for port in ports):
        return False
    return _target(rule) not in ("", "LOG", "NFLOG", "MARK", "CONNMARK")


def _covers(named: str, port: int) -> bool:
    for part in named.split(","):
        first, _, last = part.partition(":")
        if not (first.isdigit() and (last or first).isdigit()):
            return True  # a service's name: it may be any
        if int(first) <= port <= int(last or first):
            return True
    return False


def _target(rule: str) -> str:
    words = split(rule)
    for flag in ("-j", "-g"):
        if flag in words[:-1]:
            return words[words.index(flag) + 1]
    return ""


def _list(rules: Sequence[str] | None) -> str:
    return "absent" if rules is None else "; ".join(rules) or "empty"
