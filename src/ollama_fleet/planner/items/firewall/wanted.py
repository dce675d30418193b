"""The item: the ports of servers, the networks that may reach it, and the firewall that has to know."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_fleet.planner.difference import Difference
from ollama_fleet.planner.firewall_state import FirewalldState, IptablesState, NftablesState, UfwState
from ollama_fleet.planner.items.firewall import at_boot, firewalld, ufw
from ollama_fleet.planner.items.firewall.switching import Switchable, openings
from ollama_fleet.planner.layout import Layout
from ollama_fleet.planner.state import HostState


@dataclass(frozen=True, slots=True)
class WantedFirewall:
    """TCP ports open to `sources` (networks in canonical form) and to nobody else.

    Not `present`: no rule of ours, because nobody reaches the ports anyway.
    """

    ports: tuple[int, ...]
    """In ascending order."""
    sources: tuple[str, ...]
    layout: Layout
    present: bool = True
    switched: Switchable | None = None
    """The firewall that is off and is to be switched on, as it will be."""
    kind: str = "firewall"

    @property
    def name(self) -> str:
        """The ports it is about."""
        return f"port{'s' if len(self.ports) > 1 else ''} {', '.join(map(str, self.ports))}"

    @property
    def port(self) -> int:
        """The only port, where there is but one."""
        return self.ports[0]

    def differences(self, state: HostState) -> list[Difference]:
        """Compare our rules with the wanted ones; a firewall that is off or unknown is left alone."""
        firewall = self.switched or state.firewall
        sources = self.sources if self.present else None
        if isinstance(firewall, NftablesState | IptablesState):
            return at_boot.differences(self.ports, sources, firewall, state.files, self.layout)
        # What was written for nftables or iptables shuts people out also after another firewall has taken over.
        found = at_boot.leftovers(state.files, self.layout)
        if self.switched is not None:
            found.append(Difference(firewall.backend, "on", "off"))
            found += [
                Difference(f"SSH by port {port}{f' in zone {zone}' if zone else ''}", "let in", "no rule")
                for zone, port in openings(self.switched)
            ]
        if isinstance(firewall, UfwState) and (firewall.active or self.switched):
            found += ufw.differences(self.ports, sources, firewall)
        elif isinstance(firewall, FirewalldState):
            found += firewalld.differences(self.ports, sources, firewall)
        return found
