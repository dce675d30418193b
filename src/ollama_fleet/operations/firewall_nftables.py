"""Putting a script and a unit in place that load our nftables rules, or taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from ollama_fleet.operations.shell import write_file
from ollama_fleet.planner.firewall_state import NftablesState
from ollama_fleet.planner.items.firewall.nftables import DELETE_MARKED, TABLE, script, unit
from ollama_fleet.planner.layout import Layout


def commands(
    ports: Sequence[int], sources: Sequence[str] | None, state: NftablesState, layout: Layout
) -> list[str]:
    """Return shell lines that make our rules right; `sources` None takes them away."""
    if sources is None:
        return removal(layout)
    name = quote(_unit_name(layout))
    content = script(ports, sources, state.chains(ports))
    return [
        write_file(layout.firewall_script, content, mode=0o755, owner="root", group="root"),
        write_file(layout.firewall_unit, unit(layout), mode=0o644, owner="root", group="root"),
        "systemctl daemon-reload",
        f"systemctl enable --quiet {name}",
        f"systemctl restart {name}",
    ]


def removal(layout: Layout) -> list[str]:
    """Return shell lines that take away the unit, the script, our table and our rules in other tables."""
    name = quote(_unit_name(layout))
    return [
        f"systemctl disable --now --quiet {name} 2>/dev/null || true",
        f"rm -f {quote(layout.firewall_unit)} {quote(layout.firewall_script)}",
        "systemctl daemon-reload",
        f"if command -v nft >/dev/null; then {{ printf 'table %s\\ndelete table %s\\n' {quote(TABLE)} {quote(TABLE)}",
        f"  {DELETE_MARKED}",
        "} | nft -f -; fi",
    ]


def _unit_name(layout: Layout) -> str:
    return layout.firewall_unit.rpartition("/")[2]
