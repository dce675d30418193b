"""Putting a script and a unit in place that load our rules of nftables and iptables, or taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from ollama_fleet.operations.shell import write_file
from ollama_fleet.planner.firewall_state import IptablesState, NftablesState
from ollama_fleet.planner.items.firewall import iptables
from ollama_fleet.planner.items.firewall.at_boot import NAME, script, unit
from ollama_fleet.planner.items.firewall.nftables import DELETE_MARKED, TABLE
from ollama_fleet.planner.layout import Layout


def commands(
    ports: Sequence[int], sources: Sequence[str] | None, state: NftablesState | IptablesState, layout: Layout
) -> list[str]:
    """Return shell lines that make our rules right; `sources` None takes them away."""
    if sources is None:
        return removal(layout)
    return [
        write_file(
            layout.firewall_script, script(ports, sources, state), mode=0o755, owner="root", group="root"
        ),
        write_file(layout.firewall_unit, unit(layout, state), mode=0o644, owner="root", group="root"),
        "systemctl daemon-reload",
        f"systemctl enable --quiet {NAME}",
        f"systemctl restart {NAME}",
    ]


def removal(layout: Layout) -> list[str]:
    """Return shell lines that take away the unit, the script, our table, our chains and our rules among others."""
    return [
        f"systemctl disable --now --quiet {NAME} 2>/dev/null || true",
        f"rm -f {quote(layout.firewall_unit)} {quote(layout.firewall_script)}",
        "systemctl daemon-reload",
        f"if command -v nft >/dev/null; then {{ printf 'table %s\\ndelete table %s\\n' {quote(TABLE)} {quote(TABLE)}",
        f"  {DELETE_MARKED}",
        "} | nft -f -; fi",
        iptables.REMOVAL,
    ]
