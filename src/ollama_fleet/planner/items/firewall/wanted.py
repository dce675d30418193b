"""The item: one port, the networks that may reach it, and the firewall that has to know."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.firewall_state import FirewalldState, NftablesState, UfwState
from ollama_fleet.planner.items.firewall import firewalld, nftables, ufw
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedFirewall:
    """One TCP port open to `sources` (networks in canonical form) and to nobody else.

    Not `present`: no rule of ours, because nobody reaches the port anyway.
    """

    port: int
    sources: tuple[str, ...]
    layout: Layout
    present: bool = True
    kind: str = "firewall"

    @property
    def name(self) -> str:
        """The port it is about."""
        return f"port {self.port}"

    def differences(self, state: HostState) -> list[Difference]:
        """Compare our rules with the wanted ones; a firewall that is off or unknown is left alone."""
        firewall = state.firewall
        sources = self.sources if self.present else None
        if isinstance(firewall, NftablesState):
            return nftables.differences(self.port, sources, firewall, state.files, self.layout)
        # What was written for nftables goes on shutting people out after another firewall has taken over.
        found = nftables.leftovers(state.files, self.layout)
        if isinstance(firewall, UfwState) and firewall.active:
            found += ufw.differences(self.port, sources, firewall)
        elif isinstance(firewall, FirewalldState):
            found += firewalld.differences(self.port, sources, firewall)
        return found
