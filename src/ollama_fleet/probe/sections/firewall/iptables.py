"""The legacy tables of iptables, which nft does not list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from shlex import quote
from typing import Literal

from ollama_fleet.planner.firewall_state import FirewallState, IptablesState, LegacyTable, NftablesState
from ollama_fleet.planner.items.firewall.iptables import CHAIN
from ollama_fleet.planner.layout import Layout

VERSIONS: Mapping[str, Literal[4, 6]] = {"": 4, "6": 6}


def script(layout: Layout) -> str:
    """Print each family's command and rules, where the kernel has a legacy table: asking would make one."""
    return f"""if grep -qsx filter /proc/net/ip_tables_names /proc/net/ip6_tables_names; then
    grep -qs {CHAIN} {quote(layout.firewall_script)} && echo legacy-kept
    for six in '' 6; do
      [ -z "$six" ] || [ -e /proc/net/if_inet6 ] || continue
      for tables in ip${{six}}tables-legacy ip${{six}}tables; do
        command -v $tables >/dev/null 2>&1 || continue
        case $($tables -V 2>/dev/null) in *nf_tables*) continue ;; esac
        echo "legacy-command$six $(echo $tables | base64)"
        grep -qsx filter /proc/net/ip${{six}}_tables_names &&
          echo "legacy-rules$six $($tables -S 2>/dev/null | base64 | tr -d '\\n')"
        break
      done
    done
  fi"""


def parse(texts: Mapping[str, str], *, ours_active: bool) -> IptablesState | None:
    """Return the state; None where nothing is done to packets that come in, and no unit of ours loads anything.

    Args:
        texts: what the script printed, by its tags.
        ours_active: the unit that loads our rules has run.
    """
    tables: dict[Literal[4, 6], LegacyTable] = {
        version: _table(texts[f"legacy-command{six}"].strip(), texts.get(f"legacy-rules{six}", ""))
        for six, version in VERSIONS.items()
        if f"legacy-command{six}" in texts
    }
    kept = ours_active and "legacy-kept" in texts
    in_use = any(
        table.policy != "ACCEPT" or table.incoming or table.own is not None for table in tables.values()
    )
    return IptablesState("iptables", True, tables=tables) if in_use or kept else None


def beside(legacy: IptablesState, other: FirewallState, *, loads: bool) -> IptablesState:
    """Put nftables' rules beside the legacy ones, where they may refuse anybody, or are ours.

    An empty chain, which `iptables -L` leaves in nftables, makes no firewall of it.
    """
    if isinstance(other, NftablesState) and (loads or other.refusing or "table" in other.loaded):
        return replace(legacy, beside=other)
    return legacy


def _table(command: str, listed: str) -> LegacyTable:
    policy = "ACCEPT"
    incoming: list[str] = []
    own: list[str] | None = None
    for line in listed.splitlines():
        word, chain, *rest = line.split(" ", 2)
        if word == "-P" and chain == "INPUT":
            policy = rest[0]
        elif word == "-A" and chain == "INPUT":
            incoming.append("".join(rest))
        elif chain == CHAIN:
            own = own or []
            if word == "-A":
                own.append("".join(rest))
    return LegacyTable(command, policy, tuple(incoming), None if own is None else tuple(own))
